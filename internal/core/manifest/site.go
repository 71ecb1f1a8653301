package manifest

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
}

// op is one step of an edit of a document. Exactly one of the actions is asked for.
type op struct {
	node  *yaml.Node // set: the scalar, or an alias of it
	value string     // set, insert

	mapping *yaml.Node // insert, rename, remove: the mapping, and the key in it
	key     string
	rename  string // rename: the key's new name; value is the new value
	remove  bool
}

// whole is a scalar that holds a whole reference: image: vote:1
type whole struct{ scalar *yaml.Node }

func (w whole) image() ref.Ref              { return ref.Read(strings.TrimSpace(text(w.scalar))) }
func (w whole) names() []string             { return []string{w.image().Repository} }
func (w whole) nodes() []*yaml.Node         { return []*yaml.Node{w.scalar} }
func (w whole) set(r ref.Ref) ([]op, error) { return []op{{node: w.scalar, value: r.String()}}, nil }

// override is an image of an Argo CD Application's kustomize source: [NAME=]REFERENCE
type override struct{ scalar *yaml.Node }

func (o override) parts() (name string, image ref.Ref) {
	left, right, found := strings.Cut(text(o.scalar), "=")
	if !found {
		image = ref.Read(left)
		return image.Repository, image
	}
	return left, ref.Read(right)
}

func (o override) image() ref.Ref {
	_, image := o.parts()
	return image
}

func (o override) names() []string {
	name, image := o.parts()
	return []string{name, image.Repository}
}

func (o override) nodes() []*yaml.Node { return []*yaml.Node{o.scalar} }

func (o override) set(r ref.Ref) ([]op, error) {
	name, _ := o.parts()
	value := r.String()
	if name != r.Repository || strings.Contains(text(o.scalar), "=") {
		value = name + "=" + value
	}
	return []op{{node: o.scalar, value: value}}, nil
}

// entry is a mapping in a kustomization's images: {name: vote, newName: …, newTag: …, digest: …}
type entry struct{ mapping *yaml.Node }

func (e entry) image() ref.Ref {
	r := ref.Ref{Repository: text(at(e.mapping, "newName")), Tag: text(at(e.mapping, "newTag")), Digest: text(at(e.mapping, "digest"))}
	if r.Repository == "" {
		r.Repository = text(at(e.mapping, "name"))
	}
	return r
}

func (e entry) names() []string {
	return []string{text(at(e.mapping, "name")), text(at(e.mapping, "newName"))}
}

func (e entry) nodes() []*yaml.Node {
	return present(at(e.mapping, "digest"), at(e.mapping, "newTag"), at(e.mapping, "newName"), at(e.mapping, "name"))
}

func (e entry) set(r ref.Ref) ([]op, error) {
	var ops []op
	put := func(key, value string) {
		if n := at(e.mapping, key); n != nil {
			ops = append(ops, op{node: n, value: value})
		} else {
			ops = append(ops, op{mapping: e.mapping, key: key, value: value})
		}
	}
	if at(e.mapping, "newName") != nil || text(at(e.mapping, "name")) != r.Repository {
		put("newName", r.Repository)
	}
	// kustomize lets a tag alone erase a digest and the reverse, so a key that the new reference lacks must go.
	keep := func(key, value, other string) {
		switch {
		case at(e.mapping, other) == nil:
			put(key, value)
		case at(e.mapping, key) == nil:
			ops = append(ops, op{mapping: e.mapping, key: other, rename: key, value: value})
		default:
			put(key, value)
			ops = append(ops, op{mapping: e.mapping, key: other, remove: true})
		}
	}
	switch {
	case r.Digest == "":
		keep("newTag", r.Tag, "digest")
	case r.Tag == "":
		keep("digest", r.Digest, "newTag")
	default:
		put("newTag", r.Tag)
		put("digest", r.Digest)
	}
	return ops, nil
}

// keys is a reference in several scalars side by side, as Helm charts and Flux's setters have it. Any may be nil.
type keys struct {
	registry, repository, tag, digest *yaml.Node
}

func (k *keys) image() ref.Ref {
	r := ref.Ref{Repository: text(k.repository), Tag: text(k.tag), Digest: text(k.digest)}
	if host := text(k.registry); host != "" {
		r.Repository = host + "/" + r.Repository
	}
	if k.tag != nil && deref(k.tag).Tag == "!!null" {
		r.Tag = ""
	}
	// A chart that knows no digest gets it behind the tag.
	if tag, digest, found := strings.Cut(r.Tag, "@"); found && r.Digest == "" {
		r.Tag, r.Digest = tag, digest
	}
	return r
}

func (k *keys) names() []string     { return []string{k.image().Repository} }
func (k *keys) nodes() []*yaml.Node { return present(k.digest, k.tag, k.repository, k.registry) }

func (k *keys) set(r ref.Ref) ([]op, error) {
	var ops []op
	if k.repository != nil {
		repository := r.Repository
		if k.registry != nil {
			host, path := r.Host(), r.Path()
			if host == "" && text(k.registry) != "" {
				host = "docker.io"
			}
			ops = append(ops, op{node: k.registry, value: host})
			repository = path
		}
		ops = append(ops, op{node: k.repository, value: repository})
	}
	tag := r.Tag
	if k.digest != nil {
		ops = append(ops, op{node: k.digest, value: r.Digest})
	} else if r.Digest != "" && k.tag != nil {
		if r.Tag == "" {
			return nil, fmt.Errorf("the values have a tag and no digest: add `digest: \"\"` beside the tag if the chart knows it, or give the reference with a tag, %s:TAG@%s", r.Repository, r.Digest)
		}
		tag = r.Tag + "@" + r.Digest
	}
	// With a digest beside it, a tag that the reference lacks is a name only; charts that print it expect one.
	if k.tag != nil && tag != "" {
		ops = append(ops, op{node: k.tag, value: tag})
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

// meant returns the sites that are the target's: by the repository that they name, or by a Flux policy which they
// share with one that is.
func (f *finder) meant(w wanted) []site {
	policies := map[string]bool{}
	for policy := range w.policies {
		policies[policy] = true
	}
	byName := map[site]bool{}
	for _, s := range f.sites {
		for _, name := range s.names() {
			if w.matches(name) {
				byName[s] = true
			}
		}
		if byName[s] {
			for _, n := range s.nodes() {
				if policy := f.policy[n]; policy != "" {
					policies[policy] = true
				}
			}
		}
	}
	var out []site
	for _, s := range f.sites {
		chosen := byName[s]
		for _, n := range s.nodes() {
			chosen = chosen || policies[f.policy[n]]
		}
		if chosen {
			out = append(out, s)
		}
	}
	return out
}
