// Package plan decides, without asking a cluster, what a deploy does in which order: which object is which, whether the
// manifests make sense together, and whether a live object is what the manifests want already.
package plan

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds that are treated in a way of their own.
var (
	NamespaceKind  = schema.GroupKind{Kind: "Namespace"}
	DeploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	DefinitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	JobKind        = schema.GroupKind{Group: "batch", Kind: "Job"}
)

// Ref names an object for as long as its API version may change. It can be compared and is a map key.
type Ref struct{ Group, Kind, Namespace, Name string }

// RefOf is the object's Ref.
func RefOf(o *unstructured.Unstructured) Ref {
	gvk := o.GroupVersionKind()
	return Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// String is what people write: Deployment/vote.
func (r Ref) String() string { return r.Kind + "/" + r.Name }

// Long is String with the namespace: Deployment/vote-dev/vote.
func (r Ref) Long() string {
	if r.Namespace == "" {
		return r.String()
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// In is String for what is in namespace or in none, else Long.
func (r Ref) In(namespace string) string {
	if r.Namespace == "" || r.Namespace == namespace {
		return r.String()
	}
	return r.Long()
}

// GroupKind is the Ref's kind, as a REST mapper wants it.
func (r Ref) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// Compare sorts by kind, namespace and name.
func Compare(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Group, b.Group),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
