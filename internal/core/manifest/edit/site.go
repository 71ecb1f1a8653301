package edit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// site is a place where an image reference stands: one scalar, or several keys side by side.
type site interface {
	// image is the reference as it stands, put together.
	image() ref.Ref
	// names are the repositories that it can be meant by.
	names() []string
	// nodes are the scalars it is made of; the first is where it is reported.
	nodes() []*yaml.Node
	// set returns what to do so that the site names the image.
	set(ref.Ref) ([]op, error)
	// satisfied reports whether the site names the image.
	satisfied(ref.Ref) bool
}

// op is one step of an edit of a document. Exactly one of the actions is asked for.
type op struct {
	node  *yaml.Node // set: the scalar, or an alias of it
	value string     // set, insert, rename, inherit

	mapping *yaml.Node // insert, rename, remove, inherit: the mapping, and the key in it
	key     string
	rename  string // rename: the key's new name; value is the new value
	remove  bool
	// inherit: node came into mapping through a merge key (<<). It is set where it stands if all that inherit it are to
	// be set; else mapping gets a key of its own.
	inherit bool
}

// whole is a scalar that holds a whole reference: image: vote:1
type whole struct {
	scalar    *yaml.Node
	container bool // of a pod, or in a patch of one: kustomize's images: governs it
}

func (w *whole) image() ref.Ref           { return ref.Read(strings.TrimSpace(text(w.scalar))) }
func (w *whole) names() []string          { return []string{w.image().Repository} }
func (w *whole) nodes() []*yaml.Node      { return []*yaml.Node{w.scalar} }
func (w *whole) satisfied(r ref.Ref) bool { return w.image() == r }
func (w *whole) set(r ref.Ref) ([]op, error) {
	return []op{{node: w.scalar, value: r.String()}}, nil
}

// assignment is a scalar NAME=REFERENCE: a literal of a configMapGenerator, an argument --NAME=REFERENCE.
type assignment struct{ scalar *yaml.Node }

func (a *assignment) image() ref.Ref {
	_, right, _ := strings.Cut(text(a.scalar), "=")
	return ref.Read(right)
}
func (a *assignment) names() []string          { return []string{a.image().Repository} }
func (a *assignment) nodes() []*yaml.Node      { return []*yaml.Node{a.scalar} }
func (a *assignment) satisfied(r ref.Ref) bool { return a.image() == r }
func (a *assignment) set(r ref.Ref) ([]op, error) {
	left, _, _ := strings.Cut(text(a.scalar), "=")
	return []op{{node: a.scalar, value: left + "=" + r.String()}}, nil
}

// override is an image of an Argo CD Application's kustomize source: [NAME=]REFERENCE
type override struct{ scalar *yaml.Node }

func (o *override) parts() (name string, image ref.Ref) {
	left, right, found := strings.Cut(text(o.scalar), "=")
	if !found {
		image = ref.Read(left)
		return image.Repository, image
	}
	return left, ref.Read(right)
}

func (o *override) image() ref.Ref {
	_, image := o.parts()
	return image
}

func (o *override) names() []string {
	name, image := o.parts()
	return []string{name, image.Repository}
}

func (o *override) nodes() []*yaml.Node      { return []*yaml.Node{o.scalar} }
func (o *override) satisfied(r ref.Ref) bool { return o.image() == r }

func (o *override) set(r ref.Ref) ([]op, error) {
	name, _ := o.parts()
	value := r.String()
	if name != r.Repository || strings.Contains(text(o.scalar), "=") {
		value = name + "=" + value
	}
	return []op{{node: o.scalar, value: value}}, nil
}

// entry is a mapping in a kustomization's images: {name: vote, newName: …, newTag: …, digest: …}
type entry struct{ mapping *yaml.Node }

func (e *entry) field(key string) string {
	if n := deref(merged(e.mapping, key)); n != nil && n.Tag != "!!null" {
		return text(n)
	}
	return ""
}

func (e *entry) image() ref.Ref {
	r := ref.Read(e.field("newName")) // some write the tag or the digest into it
	if r.Repository == "" {
		r.Repository = e.field("name")
	}
	if tag := e.field("newTag"); tag != "" {
		r.Tag = tag
	}
	if digest := e.field("digest"); digest != "" {
		r.Digest = digest
	}
	return r
}

// suffixOnly reports whether an entry changes a tag that stands elsewhere. It names no image; what comes out of it is
// kustomize's to say.
func (e *entry) suffixOnly() bool {
	return e.field("tagSuffix") != "" && e.field("newName") == "" && e.field("newTag") == "" && e.field("digest") == ""
}

func (e *entry) names() []string { return []string{e.field("name"), e.image().Repository} }

func (e *entry) nodes() []*yaml.Node {
	return present(at(e.mapping, "digest"), at(e.mapping, "newTag"), at(e.mapping, "newName"), at(e.mapping, "name"))
}

func (e *entry) satisfied(r ref.Ref) bool {
	name := e.field("newName")
	return (name == r.Repository || name == "" && e.field("name") == r.Repository) &&
		e.field("newTag") == r.Tag && e.field("digest") == r.Digest && e.field("tagSuffix") == ""
}

func (e *entry) set(r ref.Ref) ([]op, error) {
	if e.field("tagSuffix") != "" {
		return nil, fmt.Errorf("kustomize would append tagSuffix %q to the new tag: remove it", e.field("tagSuffix"))
	}
	var ops []op
	put := func(key, value string) {
		if n := at(e.mapping, key); n != nil {
			ops = append(ops, op{node: n, value: value})
		} else {
			ops = append(ops, op{mapping: e.mapping, key: key, value: value})
		}
	}
	if e.field("newName") != "" || e.field("name") != r.Repository {
		put("newName", r.Repository)
	}
	// kustomize lets a tag alone erase a digest and the reverse, so a key that the new reference lacks must go.
	only := func(key, value, other string) {
		switch stands := at(e.mapping, other); {
		case stands == nil && e.field(other) != "": // through a merge key, which others may use too
			put(other, "")
			put(key, value)
		case stands == nil:
			put(key, value)
		case at(e.mapping, key) == nil && stands.Kind == yaml.ScalarNode:
			ops = append(ops, op{mapping: e.mapping, key: other, rename: key, value: value})
		default:
			put(key, value)
			ops = append(ops, op{mapping: e.mapping, key: other, remove: true})
		}
	}
	switch {
	case r.Digest == "":
		only("newTag", r.Tag, "digest")
	case r.Tag == "":
		only("digest", r.Digest, "newTag")
	default:
		put("newTag", r.Tag)
		put("digest", r.Digest)
	}
	return ops, nil
}

// present drops the nodes that are nil.
func present(nodes ...*yaml.Node) []*yaml.Node {
	out := nodes[:0]
	for _, n := range nodes {
		if n != nil {
			out = append(out, n)
		}
	}
	return out
}
