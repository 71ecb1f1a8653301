package wait

import (
	"context"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// Kinds of the operators' objects, in the version that the cluster prefers.
var (
	applicationKind   = schema.GroupVersionKind{Group: "argoproj.io", Kind: "Application"}
	kustomizationKind = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}
	gitRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository"}
	helmReleaseKind   = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Kind: "HelmRelease"}
)

// operator is an object that applies manifests to the cluster: an Application, a Kustomization, a HelmRelease.
type operator interface {
	// self is the object.
	self() watch.Object
	// kind is ArgoCD or Flux.
	kind() string
	// request asks the operator to look at the source now.
	request(context.Context) error
	// sync asks it to apply a revision, where it does not by itself.
	sync(ctx context.Context, revision string) error
	// needs returns the objects that judge reads.
	needs() []watch.Object
	// judge reads how far it has come. accepts reports whether a revision of the repository has the commit.
	judge(v view, accepts func(revision string) bool) verdict
}

// verdict is how far an operator has come.
type verdict struct {
	applied   bool
	revision  string         // the one that it has applied, or works on
	message   string         // a few words
	workloads []watch.Object // what it has applied, as far as it runs pods
	children  []watch.Object // other operators' objects that it has applied
	wantsSync bool           // it does not go on unless it is asked to
	tryAgain  bool           // its last sync failed with err, and it does not try again unless it is asked to
	err       error          // why it cannot go on
	heals     bool           // err may go away; it counts when it lasts
}

// view is what can be seen of the cluster.
type view interface {
	// operator returns the operator for an object that another one has applied.
	operator(context.Context, watch.Object) (operator, error)
	// followOperator makes an operator's objects visible.
	followOperator(context.Context, operator) error
	// follow makes workloads visible that an operator has applied, with the pods around them. It is called at each look,
	// and costs nothing for what is visible already.
	follow(ctx context.Context, by operator, workloads []watch.Object) error
	// object returns an object as it was last seen, or nil when it is not there.
	object(watch.Object) *unstructured.Unstructured
	// world returns what is around the workloads.
	world() *status.World
	// logs returns the last lines of a container.
	logs(ctx context.Context, namespace, pod, container string) []string
	// changed is signalled after changes.
	changed() <-chan struct{}
	// check returns why the view cannot be kept up, or nil. It is called once a second.
	check(context.Context) error
	close()
}

// title names an operator's object for messages: "Application argocd/vote-dev".
func title(o operator) string { return o.self().Kind.Kind + " " + nameOf(o) }

// nameOf is NAMESPACE/NAME.
func nameOf(o operator) string { return o.self().Namespace + "/" + o.self().Name }

// runsPods reports whether objects of a kind run pods.
func runsPods(group, kind string) bool {
	switch group {
	case "apps":
		return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}, kind)
	case "batch":
		return kind == "Job" || kind == "CronJob"
	case "argoproj.io":
		return kind == "Rollout"
	case "":
		return kind == "Pod"
	}
	return false
}

// isOperator reports whether objects of a kind apply others.
func isOperator(group, kind string) bool {
	return slices.ContainsFunc([]schema.GroupVersionKind{applicationKind, kustomizationKind, helmReleaseKind}, func(known schema.GroupVersionKind) bool {
		return known.Group == group && known.Kind == kind
	})
}

// oneLine returns an operator's message as an error of one line.
func oneLine(message string) error { return errors.New(strings.Join(strings.Fields(message), " ")) }

// condition returns a condition of an object. It is zero when the object has none of that type.
func condition(o *unstructured.Unstructured, kind string) metav1.Condition {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if fields["type"] != kind {
			continue
		}
		get := func(key string) string { s, _ := fields[key].(string); return s }
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(get("status")), Reason: get("reason"), Message: get("message")}
	}
	return metav1.Condition{}
}

// field reads a string of an object.
func field(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}
