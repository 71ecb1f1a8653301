package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

// The names of KEP-3659.
const (
	applySetID         = "applyset.kubernetes.io/id"
	applySetPartOf     = "applyset.kubernetes.io/part-of"
	applySetTooling    = "applyset.kubernetes.io/tooling"
	applySetKinds      = "applyset.kubernetes.io/contains-group-kinds"
	applySetNamespaces = "applyset.kubernetes.io/additional-namespaces"
	tooling            = Manager + "/v1"
)

var configMaps = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

// applySet knows which objects belong to a delivery: those that carry its id as a label. Its parent, a ConfigMap, says
// of which kinds and in which namespaces to look for them.
type applySet struct {
	id, name, namespace string
	exists              bool
	kinds               map[schema.GroupKind]bool
	namespaces          map[string]bool
}

// newApplySet is the ApplySet of an app as long as nothing is known of it but its name.
func newApplySet(app, namespace string) *applySet {
	name := Manager + "-" + app
	sum := sha256.Sum256([]byte(name + "." + namespace + ".ConfigMap."))
	return &applySet{
		id:   "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1",
		name: name, namespace: namespace,
		kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{namespace: true},
	}
}

// readApplySet fills in what the parent says.
func (c *Cluster) readApplySet(ctx context.Context, s *applySet) error {
	client, err := c.resource(ctx, configMaps, s.namespace)
	if err != nil {
		return err
	}
	parent, err := c.get(ctx, client, s.name)
	if err != nil || parent == nil {
		return explain("ConfigMap/"+s.name, err)
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

func (s *applySet) selector() string { return applySetPartOf + "=" + s.id }

// label makes objects members.
func (s *applySet) label(objects []*unstructured.Unstructured) {
	for _, o := range objects {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[applySetPartOf] = s.id
		o.SetLabels(labels)
	}
}

// cover adds the kinds and namespaces of objects, and says whether there were new ones.
func (s *applySet) cover(objects []*unstructured.Unstructured) bool {
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

// only narrows the set to the kinds and namespaces of objects, and says whether that left anything out.
func (s *applySet) only(objects []*unstructured.Unstructured) bool {
	narrow := &applySet{exists: true, kinds: map[schema.GroupKind]bool{}, namespaces: map[string]bool{s.namespace: true}}
	narrow.cover(objects)
	shrunk := len(narrow.kinds) < len(s.kinds) || len(narrow.namespaces) < len(s.namespaces)
	s.kinds, s.namespaces = narrow.kinds, narrow.namespaces
	return shrunk
}

// writeApplySet writes the parent. It must cover the objects before they are applied, and what is pruned until it is gone.
func (c *Cluster) writeApplySet(ctx context.Context, s *applySet) error {
	kinds := make([]string, 0, len(s.kinds))
	for kind := range s.kinds {
		kinds = append(kinds, kind.String())
	}
	slices.Sort(kinds)
	others := maps.Clone(s.namespaces)
	delete(others, s.namespace)

	parent := &unstructured.Unstructured{}
	parent.SetGroupVersionKind(configMaps)
	parent.SetName(s.name)
	parent.SetNamespace(s.namespace)
	parent.SetLabels(map[string]string{applySetID: s.id})
	parent.SetAnnotations(map[string]string{
		applySetTooling:    tooling,
		applySetKinds:      strings.Join(kinds, ","),
		applySetNamespaces: strings.Join(slices.Sorted(maps.Keys(others)), ","),
	})
	if _, err := c.apply(ctx, parent, applyOptions{force: true}); err != nil {
		return explain("ConfigMap/"+s.name, err)
	}
	s.exists = true
	return nil
}

// prunable are the members that are not among objects. A member that aksflow did not apply, or that something else
// controls, carries the label by accident and is left alone.
func prunable(l *live, objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	wanted := map[plan.Ref]bool{}
	for _, o := range objects {
		wanted[plan.RefOf(o)] = true
	}
	var gone []*unstructured.Unstructured
	for ref := range l.members {
		if o := l.objects[ref]; !wanted[ref] && isOurs(o) {
			gone = append(gone, o)
		}
	}
	slices.SortFunc(gone, func(a, b *unstructured.Unstructured) int {
		// What was applied last goes first.
		if d := plan.StageOf(b.GroupVersionKind().GroupKind()) - plan.StageOf(a.GroupVersionKind().GroupKind()); d != 0 {
			return int(d)
		}
		return plan.Compare(plan.RefOf(a), plan.RefOf(b))
	})
	return gone
}

func isOurs(o *unstructured.Unstructured) bool {
	if metav1.GetControllerOf(o) != nil || o.GetDeletionTimestamp() != nil {
		return false
	}
	return slices.ContainsFunc(o.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == Manager && entry.Operation == metav1.ManagedFieldsOperationApply
	})
}
