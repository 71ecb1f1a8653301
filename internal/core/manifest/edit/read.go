package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Reference is a reference that was found.
type Reference struct {
	Image ref.Ref
	Line  int // 1-based
	// Meant reports whether the target names it, and Right whether it is the target.
	Meant, Right bool
	// Container reports whether it is the image of a container or an OCI volume, which kustomize's images: governs.
	Container bool
	// Embedded reports whether it stands in a text.
	Embedded bool
	// Object is KIND/NAME of the object that it stands in, for messages.
	Object string
}

// References returns the references of a file and of the texts in it, in the order in which they are found.
func (u *Unit) References(w Wanted) []Reference {
	var out []Reference
	meant := map[*finder]map[site]bool{}
	objects := map[*finder]string{}
	for i, f := range u.finders {
		if len(u.docs[i].Content) > 0 {
			objects[f] = nameOf(u.docs[i].Content[0])
		}
	}
	u.each(func(in *Unit, f *finder, s site) {
		if meant[f] == nil {
			meant[f] = f.meant(w)
		}
		scalar, isWhole := s.(*whole)
		out = append(out, Reference{
			Image: s.image(), Line: in.position(s.nodes()[0]), Meant: meant[f][s] || in.always[s], Right: s.satisfied(w.image),
			Container: isWhole && scalar.container, Embedded: in.parent != nil, Object: objects[f],
		})
	})
	return out
}

// Foreign reports whether a document of the file is another tool's, in which no reference is looked for.
func (u *Unit) Foreign() bool {
	return slices.ContainsFunc(u.finders, func(f *finder) bool { return f.foreign })
}

// nameOf is an object's kind and name, for messages.
func nameOf(object *yaml.Node) string {
	return text(at(object, "kind")) + "/" + text(at(object, "metadata", "name"))
}

// Loose is a tag or a digest in Helm values whose repository is neither beside it nor in the values below.
type Loose struct {
	Line         int
	Key          string // for messages: image.tag
	Path, Prefix string // as in Layers
}

// Loose returns the tags and digests of a file that belong to no reference.
func (u *Unit) Loose() []Loose {
	var out []Loose
	for _, f := range u.finders {
		for _, k := range f.loose {
			n := k.nodes()[0]
			key := strings.TrimPrefix(strings.ReplaceAll(k.path, "\x00", ".")+"."+keyOf(k.mapping, n), ".")
			out = append(out, Loose{Line: u.position(n), Key: key, Path: k.path, Prefix: k.prefix})
		}
	}
	return out
}

// Values are the references in a file of Helm values.
type Values struct {
	found    *finder
	registry string
}

// ReadValues reads a file of Helm values; nil when it is not one.
func ReadValues(name string, content []byte) *Values {
	s, err := parse(name, content)
	if err != nil || len(s.docs) == 0 || len(s.docs[0].Content) == 0 || formOf(name, s.docs[0].Content[0]) != values {
		return nil
	}
	f := newFinder(nil)
	f.find(name, s.docs[0])
	return &Values{f, globalRegistry(s.docs[0].Content[0])}
}

// At returns the reference that stands in several keys at a path, under a prefix of its keys; nil when there is none.
func (v *Values) At(path, prefix string) *Split {
	if v == nil {
		return nil
	}
	return v.found.keysAt(path, prefix)
}

// Registry returns the registry that the values put before all images, or "".
func (v *Values) Registry() string {
	if v == nil {
		return ""
	}
	return v.registry
}

// Repository returns the repository as a chart puts it together.
func (k *Split) Repository() string { return k.composed() }

// Documents parses a YAML or JSON stream. Its errors name the line.
func Documents(name string, content []byte) ([]*yaml.Node, error) {
	s, err := parse(name, content)
	if err != nil {
		return nil, err
	}
	return s.docs, nil
}

// At follows keys from a mapping; nil when one is missing.
func At(n *yaml.Node, keys ...string) *yaml.Node { return at(n, keys...) }

// Deref returns what an alias stands for, and any other node itself.
func Deref(n *yaml.Node) *yaml.Node { return deref(n) }

// Text returns a scalar's value, behind an alias or not; "" for anything else.
func Text(n *yaml.Node) string { return text(n) }
