package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A kustomization that is edited may get its image from a base that other environments share. The base stays as it is;
// the image is pinned in the kustomization's own images:. To know when, its resources are followed: this is not
// kustomize build, only the part of it that decides which images come out under which name.

// pins returns, by kustomization in dir, the repositories to add to its images:.
func (p *planner) pins() (map[string][]string, error) {
	if !p.follow {
		return nil, nil
	}
	used, err := p.usedByOwn()
	if err != nil {
		return nil, err
	}
	pins := map[string][]string{}
	for _, name := range p.kustomizations {
		if used[name] {
			continue // the kustomization above it is the environment
		}
		images, err := p.images(name, nil)
		if err != nil {
			return nil, err
		}
		root, err := p.load(name)
		if err != nil {
			return nil, err
		}
		var entries []string
		if list := at(root, "images"); list != nil {
			for _, item := range deref(list).Content {
				entries = append(entries, text(at(item, "name")))
			}
		}
		for _, repository := range images {
			if p.want.matches(repository) && !slices.Contains(entries, repository) && !slices.Contains(pins[name], repository) {
				pins[name] = append(pins[name], repository)
			}
		}
		if len(pins[name]) > 0 && !slices.ContainsFunc(p.held, func(h held) bool { return h.path == name }) {
			var content bytes.Buffer
			if err := p.read(name, &content); err != nil {
				return nil, err
			}
			p.held = append(p.held, held{name, content.Bytes()})
		}
	}
	return pins, nil
}

// usedByOwn returns the kustomizations in dir that another one in dir uses.
func (p *planner) usedByOwn() (map[string]bool, error) {
	used := map[string]bool{}
	if len(p.kustomizations) < 2 {
		return used, nil
	}
	for _, name := range p.kustomizations {
		root, err := p.load(name)
		if err != nil {
			return nil, err
		}
		for _, resource := range resources(name, root) {
			for _, base := range kustomizationNames {
				if inner := path.Join(resource, base); inner != name {
					used[inner] = true
				}
			}
		}
	}
	return used, nil
}

// governed returns, by own file, the repositories that a kustomization in dir sets through its images: when it reads
// that file. They are set there and not in the file, where the entry would not find them any more.
func (p *planner) governed(pins map[string][]string) (map[string]map[string]bool, error) {
	governed := map[string]map[string]bool{}
	for _, h := range p.held {
		if !isKustomization(h.path) {
			continue
		}
		root, err := p.load(h.path)
		if err != nil {
			return nil, err
		}
		names := slices.Clone(pins[h.path])
		if list := at(root, "images"); list != nil {
			for _, item := range deref(list).Content {
				if e := (entry{item}); slices.ContainsFunc(e.names(), p.want.matches) {
					names = append(names, text(at(item, "name")))
				}
			}
		}
		if len(names) == 0 {
			continue
		}
		if err := p.govern(h.path, root, names, governed, map[string]bool{}); err != nil {
			return nil, err
		}
	}
	return governed, nil
}

func (p *planner) govern(name string, root *yaml.Node, repositories []string, governed map[string]map[string]bool, seen map[string]bool) error {
	if seen[name] {
		return nil
	}
	seen[name] = true
	for _, resource := range append(resources(name, root), patchFiles(name, root)...) {
		if inner, innerRoot, err := p.kustomizationIn(resource); err != nil {
			return err
		} else if inner != "" {
			if err := p.govern(inner, innerRoot, repositories, governed, seen); err != nil {
				return err
			}
			continue
		}
		if governed[resource] == nil {
			governed[resource] = map[string]bool{}
		}
		for _, repository := range repositories {
			governed[resource][repository] = true
		}
	}
	return nil
}

// images returns the repositories that come into a kustomization from outside dir, under the names that its images:
// sees, and what its inline patches bring.
func (p *planner) images(name string, above []string) ([]string, error) {
	if slices.Contains(above, name) {
		return nil, fmt.Errorf("%s: the kustomizations use each other in a circle: %s", p.shown(name), strings.Join(append(above, name), " -> "))
	}
	if known, found := p.bases[name]; found {
		return known, nil
	}
	root, err := p.load(name)
	if err != nil {
		return nil, err
	}
	images := inlinePatches(root)
	for _, resource := range append(resources(name, root), patchFiles(name, root)...) {
		inner, innerRoot, err := p.kustomizationIn(resource)
		if err != nil {
			return nil, err
		}
		var below []string
		switch {
		case inner != "":
			if below, err = p.images(inner, append(above, name)); err != nil {
				return nil, err
			}
			below = renamed(innerRoot, below)
		case !p.inside(resource) || p.links[resource] != "":
			if below, err = p.imagesOf(resource); err != nil {
				return nil, err
			}
		}
		for _, image := range below {
			if !slices.Contains(images, image) {
				images = append(images, image)
			}
		}
	}
	if p.bases == nil {
		p.bases = map[string][]string{}
	}
	p.bases[name] = images
	return images, nil
}

// imagesOf returns the repositories in a file outside dir.
func (p *planner) imagesOf(name string) ([]string, error) {
	if known, found := p.bases[name]; found {
		return known, nil
	}
	var content bytes.Buffer
	if err := p.read(name, &content); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // generated, or an error that the operator will name
		}
		return nil, err
	}
	var images []string
	s, err := parse(p.shown(name), content.Bytes())
	if err != nil {
		return nil, err
	}
	for _, doc := range s.docs {
		for _, site := range find(name, doc).sites {
			images = append(images, site.image().Repository)
		}
	}
	if p.bases == nil {
		p.bases = map[string][]string{}
	}
	p.bases[name] = images
	return images, nil
}

// renamed applies the names of a kustomization's images: to what comes out of its resources.
func renamed(root *yaml.Node, images []string) []string {
	list := deref(at(root, "images"))
	if list == nil {
		return images
	}
	images = slices.Clone(images)
	for _, item := range list.Content {
		from, to := text(at(item, "name")), text(at(item, "newName"))
		for i := range images {
			if images[i] == from && to != "" {
				images[i] = to
			}
		}
	}
	return images
}

// resources returns the local paths that a kustomization is made from, relative to the root of the file system.
func resources(name string, root *yaml.Node) []string {
	var out []string
	for _, key := range []string{"resources", "bases", "components"} {
		if list := deref(at(root, key)); list != nil {
			for _, item := range list.Content {
				out = appendLocal(out, name, text(item))
			}
		}
	}
	return out
}

// patchFiles returns the files of a kustomization's patches.
func patchFiles(name string, root *yaml.Node) []string {
	var out []string
	for _, key := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
		if list := deref(at(root, key)); list != nil {
			for _, item := range list.Content {
				if item.Kind == yaml.ScalarNode && !strings.Contains(item.Value, "\n") {
					out = appendLocal(out, name, item.Value)
				}
				out = appendLocal(out, name, text(at(item, "path")))
			}
		}
	}
	return out
}

// appendLocal adds a path of a kustomization if it is one in the file system: no URL, and not above its root.
func appendLocal(out []string, name, relative string) []string {
	if relative == "" || strings.Contains(relative, "://") || path.IsAbs(relative) {
		return out
	}
	if full := path.Join(path.Dir(name), relative); fs.ValidPath(full) {
		return append(out, full)
	}
	return out
}

// inlinePatches returns the repositories in the patches that stand in the kustomization as text.
func inlinePatches(root *yaml.Node) []string {
	var images []string
	for _, key := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
		list := deref(at(root, key))
		if list == nil {
			continue
		}
		for _, item := range list.Content {
			patch := text(at(item, "patch"))
			if item.Kind == yaml.ScalarNode && strings.Contains(item.Value, "\n") {
				patch = item.Value
			}
			s, err := parse("patch.yaml", []byte(patch))
			if err != nil {
				continue // kustomize will say so; no image is lost by it
			}
			for _, doc := range s.docs {
				for _, site := range find("patch.yaml", doc).sites {
					images = append(images, site.image().Repository)
				}
			}
		}
	}
	return images
}

// kustomizationIn returns the kustomization of a directory; "" when there is none.
func (p *planner) kustomizationIn(dir string) (string, *yaml.Node, error) {
	for _, base := range kustomizationNames {
		name := path.Join(dir, base)
		info, err := fs.Stat(p.fsys, name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		root, err := p.load(name)
		return name, root, err
	}
	return "", nil, nil
}

// load reads a kustomization; an empty one is an empty mapping.
func (p *planner) load(name string) (*yaml.Node, error) {
	if root, found := p.loaded[name]; found {
		return root, nil
	}
	var content bytes.Buffer
	if err := p.read(name, &content); err != nil {
		return nil, err
	}
	s, err := parse(p.shown(name), content.Bytes())
	if err != nil {
		return nil, err
	}
	root := &yaml.Node{Kind: yaml.MappingNode}
	if len(s.docs) > 0 && len(s.docs[0].Content) > 0 {
		root = s.docs[0].Content[0]
	}
	if p.loaded == nil {
		p.loaded = map[string]*yaml.Node{}
	}
	p.loaded[name] = root
	return root, nil
}
