package kube

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

// The labels and annotations of KEP-3659.
const (
	applySetID         = "applyset.kubernetes.io/id"
	applySetPartOf     = "applyset.kubernetes.io/part-of"
	applySetTooling    = "applyset.kubernetes.io/tooling"
	applySetKinds      = "applyset.kubernetes.io/contains-group-kinds"
	applySetNamespaces = "applyset.kubernetes.io/additional-namespaces"
	tooling            = Manager + "/v1"
)

var configMapKind = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

// ApplySet names the objects that belong to an app: those that carry its id as a label. Its parent, a ConfigMap, holds
// the kinds and namespaces in which to look for them.
type ApplySet struct {
	id, name, namespace string
	exists              bool
	kinds               map[schema.GroupKind]bool
	namespaces          map[string]bool
}

// NewApplySet returns the ApplySet of an app, empty until it is read.
func NewApplySet(app, namespace string) *ApplySet {
	name := Manager + "-" + app
	sum := sha256.Sum256([]byte(name + "." + namespace + ".ConfigMap."))
	return &ApplySet{
		id:   "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1",
		name: name, namespace: namespace,
		kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{namespace: true},
	}
}

// ReadApplySet fills in what the parent holds, if there is one.
func (c *Cluster) ReadApplySet(ctx context.Context, s *ApplySet) error {
	parent, err := c.Get(ctx, configMapKind, s.namespace, s.name)
	if err != nil || parent == nil {
		return Explain("ConfigMap/"+s.name, err)
	}
	s.exists = true
	annotations := parent.GetAnnotations()
	for _, text := range strings.Split(annotations[applySetKinds], ",") {
		if text != "" {
			s.kinds[schema.ParseGroupKind(text)] = true
		}
	}
	for _, namespace := range strings.Split(annotations[applySetNamespaces], ",") {
		if namespace != "" {
			s.namespaces[namespace] = true
		}
	}
	return nil
}

func (s *ApplySet) selector() string { return applySetPartOf + "=" + s.id }

// Label makes objects members.
func (s *ApplySet) Label(objects []*unstructured.Unstructured) {
	for _, o := range objects {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[applySetPartOf] = s.id
		o.SetLabels(labels)
	}
}

// Cover adds the kinds and namespaces of objects, and reports whether the parent must be written for that.
func (s *ApplySet) Cover(objects []*unstructured.Unstructured) bool {
	grown := !s.exists
	for _, o := range objects {
		if kind := o.GroupVersionKind().GroupKind(); !s.kinds[kind] {
			s.kinds[kind], grown = true, true
		}
		if namespace := o.GetNamespace(); namespace != "" && !s.namespaces[namespace] {
			s.namespaces[namespace], grown = true, true
		}
	}
	return grown
}

// Narrow reduces the set to the kinds and namespaces of objects, and reports whether the parent must be written for that.
func (s *ApplySet) Narrow(objects []*unstructured.Unstructured) bool {
	narrow := &ApplySet{exists: true, kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{s.namespace: true}}
	narrow.Cover(objects)
	shrunk := len(narrow.kinds) < len(s.kinds) || len(narrow.namespaces) < len(s.namespaces)
	s.kinds, s.namespaces = narrow.kinds, narrow.namespaces
	return shrunk
}

// WriteApplySet writes the parent. It must cover objects before they are applied, and until they are deleted.
func (c *Cluster) WriteApplySet(ctx context.Context, s *ApplySet) error {
	kinds := make([]string, 0, len(s.kinds))
	for kind := range s.kinds {
		kinds = append(kinds, kind.String())
	}
	slices.Sort(kinds)
	others := maps.Clone(s.namespaces)
	delete(others, s.namespace)

	parent := &unstructured.Unstructured{}
	parent.SetGroupVersionKind(configMapKind)
	parent.SetName(s.name)
	parent.SetNamespace(s.namespace)
	parent.SetLabels(map[string]string{applySetID: s.id})
	parent.SetAnnotations(map[string]string{
		applySetTooling:    tooling,
		applySetKinds:      strings.Join(kinds, ","),
		applySetNamespaces: strings.Join(slices.Sorted(maps.Keys(others)), ","),
	})
	if _, err := c.Apply(ctx, parent, ApplyOptions{Force: true}); err != nil {
		return Explain("ConfigMap/"+s.name, err)
	}
	s.exists = true
	return nil
}

// DeleteApplySet deletes the parent of a set that has no members any more.
func (c *Cluster) DeleteApplySet(ctx context.Context, s *ApplySet) error {
	parent, err := c.Get(ctx, configMapKind, s.namespace, s.name)
	if err == nil && parent != nil {
		err = c.Remove(ctx, parent, false)
	}
	return Explain("ConfigMap/"+s.name, err)
}

// Foreign returns those of objects that are members of another ApplySet in the cluster, with the id of that one.
// https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/3659-kubectl-apply-prune
func (l *Live) Foreign(objects []*unstructured.Unstructured, own *ApplySet) map[plan.Ref]string {
	foreign := map[plan.Ref]string{}
	for _, o := range objects {
		ref := plan.RefOf(o)
		if live := l.Objects[ref]; live != nil && live.GetDeletionTimestamp() == nil {
			if id := live.GetLabels()[applySetPartOf]; id != "" && id != own.id {
				foreign[ref] = id
			}
		}
	}
	return foreign
}

// OwnerOf describes the ApplySet with an id for a message: its app and namespace, if they can be found in namespace or in
// all of them.
func (c *Cluster) OwnerOf(ctx context.Context, id, namespace string) string {
	for _, where := range []string{namespace, metav1.NamespaceAll} {
		parents, err := c.List(ctx, configMapKind, where, metav1.ListOptions{LabelSelector: applySetID + "=" + id})
		if err != nil || len(parents) == 0 {
			continue
		}
		parent := parents[0]
		if app, ours := strings.CutPrefix(parent.GetName(), Manager+"-"); ours {
			return fmt.Sprintf("the app %s in the namespace %s", app, parent.GetNamespace())
		}
		return fmt.Sprintf("the ApplySet of ConfigMap/%s in the namespace %s", parent.GetName(), parent.GetNamespace())
	}
	return "another ApplySet (" + id + ")"
}

// PartOf is the label that makes an object a member of an ApplySet.
const PartOf = applySetPartOf

// Prunable returns the members that are not among objects, in the order in which to delete them. A member that aksflow
// did not apply, or that another object controls, carries the label by accident and is left out.
func (l *Live) Prunable(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	wanted := map[plan.Ref]bool{}
	for _, o := range objects {
		wanted[plan.RefOf(o)] = true
	}
	var gone []*unstructured.Unstructured
	for ref := range l.Members {
		if o := l.Objects[ref]; !wanted[ref] && isOurs(o) {
			gone = append(gone, o)
		}
	}
	slices.SortFunc(gone, func(a, b *unstructured.Unstructured) int {
		// What was applied last is deleted first.
		if d := plan.StageOf(b.GroupVersionKind().GroupKind()) - plan.StageOf(a.GroupVersionKind().GroupKind()); d != 0 {
			return int(d)
		}
		return plan.Compare(plan.RefOf(a), plan.RefOf(b))
	})
	return gone
}

// isOurs reports whether aksflow applied an object that is still to stay and that no other object controls.
func isOurs(o *unstructured.Unstructured) bool {
	if metav1.GetControllerOf(o) != nil || o.GetDeletionTimestamp() != nil {
		return false
	}
	return slices.ContainsFunc(o.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == Manager && entry.Operation == metav1.ManagedFieldsOperationApply
	})
}
