// Package plan decides, without a network, what a deploy does and in which order: how objects are named, whether the
// manifests fit together, whether a live object needs a change, and which fields to take over from other tools.
package plan

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds that need special treatment.
var (
	NamespaceKind  = schema.GroupKind{Kind: "Namespace"}
	DeploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	DefinitionKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	JobKind        = schema.GroupKind{Group: "batch", Kind: "Job"}

	StatefulSetKind = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
)

// Ref names an object without its API version, which may change. It is comparable.
type Ref struct{ Group, Kind, Namespace, Name string }

// RefOf returns the Ref of an object.
func RefOf(o *unstructured.Unstructured) Ref {
	gvk := o.GroupVersionKind()
	return Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// String is KIND/NAME, as people write it: Deployment/vote.
func (r Ref) String() string { return r.Kind + "/" + r.Name }

// Long is String with the namespace: Deployment/vote-dev/vote.
func (r Ref) Long() string {
	if r.Namespace == "" {
		return r.String()
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// In is String for an object in namespace or without one, else Long.
func (r Ref) In(namespace string) string {
	if r.Namespace == "" || r.Namespace == namespace {
		return r.String()
	}
	return r.Long()
}

// GroupKind is the Ref's kind in the type that a REST mapper takes.
func (r Ref) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// Compare sorts by kind, namespace and name.
func Compare(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Group, b.Group),
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
