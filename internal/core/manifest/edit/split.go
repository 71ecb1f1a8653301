package edit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Split is a reference in several scalars side by side, as Helm charts and Flux's setters have it. Any may be nil.
type Split struct {
	registry, repository, tag, digest *yaml.Node
	// mapping is where the scalars stand; nil when they stand in several. inherited are those that came into it through
	// a merge key, by node, with the key that each has.
	mapping   *yaml.Node
	inherited map[*yaml.Node]string
	// globalRegistry is the registry that the chart puts before the repository, and stands elsewhere: global.imageRegistry.
	globalRegistry string
	// path and prefix say where in the values it stands: image.tag is path "image" and prefix "".
	path, prefix string
	// below is the same reference in the values that these lie over: a chart's own. It completes what is not here.
	below *Split
	// belowEdited reports whether below is edited in the same run.
	belowEdited bool
	// marked says that Flux's setters or the user named the scalars, so that those which are missing have another home.
	marked bool
}

func (k *Split) image() ref.Ref {
	r := ref.Ref{Repository: k.composed(), Tag: scalarText(k.tag), Digest: scalarText(k.digest)}
	if k.hexDigest() && r.Digest != "" {
		r.Digest = "sha256:" + r.Digest
	}
	// A chart that knows no digest gets it behind the tag.
	if tag, digest, found := strings.Cut(r.Tag, "@"); found && r.Digest == "" {
		r.Tag, r.Digest = tag, digest
	}
	return r
}

// composed is the repository as the chart puts it together.
func (k *Split) composed() string {
	repository := scalarText(k.repository)
	host := scalarText(k.registry)
	if k.repository == nil {
		switch {
		case k.below == nil:
			return ""
		case host == "":
			return k.below.composed()
		}
		repository = scalarText(k.below.repository)
	}
	if k.globalRegistry != "" && (host != "" || ref.Ref{Repository: repository}.Host() == "") {
		host = k.globalRegistry
	}
	if host = strings.TrimSuffix(host, "/"); host != "" {
		return host + "/" + strings.TrimPrefix(repository, "/")
	}
	return repository
}

// hexDigest reports whether the digest is written as charts do that add "sha256:" themselves: sha: df67ff…
func (k *Split) hexDigest() bool {
	value := scalarText(k.digest)
	if value == "" {
		return k.mapping != nil && strings.HasSuffix(normal(keyOf(k.mapping, k.digest)), "sha")
	}
	return !strings.Contains(value, ":")
}

func (k *Split) names() []string     { return []string{k.composed()} }
func (k *Split) nodes() []*yaml.Node { return present(k.digest, k.tag, k.repository, k.registry) }

func (k *Split) satisfied(r ref.Ref) bool {
	is := k.image()
	if k.repository != nil && !is.SameRepository(r) {
		return false
	}
	switch {
	case k.digest != nil:
		return is.Digest == r.Digest && !strings.Contains(scalarText(k.tag), "@") && (k.tag == nil || r.Tag == "" || is.Tag == r.Tag)
	case k.tag != nil:
		return is.Digest == r.Digest && (is.Tag == r.Tag || r.Tag == "")
	}
	return k.placeBelow()
}

// placeBelow reports whether tag and digest have their place somewhere else.
func (k *Split) placeBelow() bool {
	return k.marked || k.below != nil && k.belowEdited && (k.below.tag != nil || k.below.digest != nil)
}

func (k *Split) set(r ref.Ref) ([]op, error) {
	e := &keysEdit{Split: k}
	if err := e.repository(r); err != nil {
		return nil, err
	}
	if err := e.version(r); err != nil {
		return nil, err
	}
	return e.ops, nil
}

// keysEdit collects the ops that set a reference in several keys.
type keysEdit struct {
	*Split
	ops []op
}

func (e *keysEdit) put(n *yaml.Node, value string) {
	if key, inherited := e.inherited[n]; inherited {
		e.ops = append(e.ops, op{node: n, mapping: e.mapping, key: key, value: value, inherit: true})
		return
	}
	e.ops = append(e.ops, op{node: n, value: value})
}

// repository sets registry and repository, unless they name the image already.
func (e *keysEdit) repository(r ref.Ref) error {
	if e.Split.repository == nil {
		if e.below != nil && !e.belowEdited && !e.below.image().SameRepository(r) {
			return fmt.Errorf("the tag here is that of %s, which stands in another file that is not edited: include that file", e.below.composed())
		}
		return nil
	}
	if (ref.Ref{Repository: e.composed()}).SameRepository(r) {
		return nil
	}
	old := scalarText(e.registry)
	switch {
	case e.globalRegistry != "":
		if r.Host() != strings.TrimSuffix(e.globalRegistry, "/") {
			return fmt.Errorf("the values put the registry %s before every image, and the image is on %s: set the registry by hand first",
				e.globalRegistry, r.Host())
		}
		e.put(e.Split.repository, r.Path())
	case old == "":
		e.put(e.Split.repository, r.Repository)
	default:
		registry, repository := splitLike(old, scalarText(e.Split.repository), r)
		e.put(e.registry, registry)
		e.put(e.Split.repository, repository)
	}
	return nil
}

// splitLike splits a repository in two as another one is: before the first slash, unless the old registry has a path.
func splitLike(registry, repository string, r ref.Ref) (newRegistry, newRepository string) {
	if elements := strings.Split(r.Repository, "/"); strings.Contains(strings.TrimSuffix(registry, "/"), "/") {
		if own := strings.Count(repository, "/") + 1; own < len(elements) {
			return strings.Join(elements[:len(elements)-own], "/"), strings.Join(elements[len(elements)-own:], "/")
		}
	}
	if r.Host() == "" {
		return "docker.io", r.Path()
	}
	return r.Host(), r.Path()
}

// version sets tag and digest.
func (e *keysEdit) version(r ref.Ref) error {
	tag := scalarText(e.tag)
	switch {
	case e.digest != nil:
		digest := r.Digest
		if e.hexDigest() {
			digest = digest[strings.IndexByte(digest, ':')+1:]
		}
		e.put(e.digest, digest)
		switch {
		case e.tag == nil && r.Digest == "":
			return fmt.Errorf("the values have a digest and no tag: give the reference with a digest, %s@sha256:…", r.Repository)
		case e.tag == nil:
		case r.Tag != "":
			e.put(e.tag, r.Tag)
		case strings.Contains(tag, "@"):
			e.put(e.tag, tag[:strings.IndexByte(tag, '@')])
		}
	case e.tag != nil && r.Digest == "":
		e.put(e.tag, r.Tag)
	case strings.Contains(tag, "@") && r.Tag == "": // the chart knows no digest: it stays behind the tag
		e.put(e.tag, tag[:strings.IndexByte(tag, '@')+1]+r.Digest)
	case e.tag != nil && r.Tag == "":
		return fmt.Errorf("the values have a tag and no digest: add `digest: \"\"` beside the tag if the chart knows it, or give the reference with a tag, %s:TAG@%s", r.Repository, r.Digest)
	case e.tag != nil:
		e.put(e.tag, r.Tag+"@"+r.Digest)
	case e.placeBelow():
	default:
		return fmt.Errorf("the image is named by its repository only, so that tag and digest have no place: add `tag: \"\"` or `digest: \"\"` beside it if the chart reads it, write a whole reference, or name the keys under gitops.images in aksflow.yaml")
	}
	return nil
}

// scalarText is text for what may be empty: a key with nothing behind it is "".
func scalarText(n *yaml.Node) string {
	if d := deref(n); d == nil || d.Tag == "!!null" {
		return ""
	}
	return text(n)
}

// keyOf returns the key under which a value stands in a mapping, or "".
func keyOf(mapping, value *yaml.Node) string {
	for key, v := range pairs(mapping) {
		if v == value {
			return key
		}
	}
	return ""
}
