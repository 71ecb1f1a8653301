package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// kustomizationFile is a kustomization that was read.
type kustomizationFile struct {
	name    string
	content string
	root    *yaml.Node // an empty mapping when the file is empty
	err     error      // why it could not be read
}

// root is a kustomization in dir that no other one there uses.
type root struct {
	name  string          // of its file
	reach map[string]bool // the files that it is made from, kustomizations included
}

// component reports whether a kustomization can be used only by others.
func (k *kustomizationFile) component() bool {
	return edit.Text(edit.At(k.root, "kind")) == "Component"
}

// entries returns the names in images: of the entries that the target means.
func (k *kustomizationFile) entries(w edit.Wanted) []string { return edit.EntryNames(k.root, w) }

// mayUse reports whether a kustomization that cannot be parsed may be made from a file: it stands beside it, or names
// the way to it.
func (k *kustomizationFile) mayUse(file string) bool {
	dir := path.Dir(k.name)
	if dir == path.Dir(file) {
		return true
	}
	for at := file; at != "." && at != dir; at = path.Dir(at) {
		if strings.Contains(k.content, relative(dir, at)) {
			return true
		}
	}
	return false
}

// relative is a path in the file system as one that starts in a directory.
func relative(dir, name string) string {
	up := ""
	for dir != "." && name != dir && !strings.HasPrefix(name, dir+"/") {
		dir, up = path.Dir(dir), up+"../"
	}
	if dir == "." {
		return up + name
	}
	return up + strings.TrimPrefix(name, dir+"/")
}

// findEnvironments reads the kustomizations in dir.
func (p *planner) findEnvironments() error {
	p.graph, p.directories = map[string]*kustomizationFile{}, map[string]*kustomizationFile{}
	for _, name := range p.own {
		p.directories[name] = nil // known to be files
	}
	used := map[string]bool{}
	for _, name := range p.kustomizations {
		for _, part := range p.parts(p.load(name)) {
			if inner := p.kustomizationIn(part); inner != nil && inner.name != name {
				used[inner.name] = true
			}
		}
	}
	for _, name := range p.kustomizations {
		if k := p.load(name); k.err == nil && !used[name] {
			env := &root{name: name, reach: map[string]bool{}}
			p.reach(name, env.reach)
			p.environments = append(p.environments, env)
		}
	}
	return nil
}

// reach notes all files that a kustomization is made from.
func (p *planner) reach(name string, into map[string]bool) {
	if into[name] {
		return
	}
	into[name] = true
	for _, part := range p.parts(p.load(name)) {
		if inner := p.kustomizationIn(part); inner != nil {
			p.reach(inner.name, into)
		} else {
			into[part] = true
		}
	}
}

// govern finds, for each file in dir, the repositories that stay in it: kustomizations set what they read from there
// through images:, and their entries would not find a new name any more. A file that one environment governs and another
// one does not is left as well; the other one gets an entry. But where the name stays, the file can be set for all.
func (p *planner) govern() {
	byFile := map[string]map[string]map[string]bool{} // file, environment, repository
	for _, env := range p.environments {
		p.governs(env, env.name, nil, nil, byFile)
	}
	p.governed = map[string]map[string]bool{}
	for file, environments := range byFile {
		repositories := map[string]int{}
		for _, names := range environments {
			for name := range names {
				repositories[name]++
			}
		}
		p.governed[file] = map[string]bool{}
		for name, count := range repositories {
			p.governed[file][name] = count == len(environments) || name != p.want.Image().Repository
		}
	}
}

func (p *planner) governs(env *root, name string, names, above []string, byFile map[string]map[string]map[string]bool) {
	if slices.Contains(above, name) {
		return
	}
	k := p.load(name)
	names = slices.Concat(names, k.entries(p.want), p.pins[name])
	for _, component := range p.locals(k, "components") {
		if inner := p.kustomizationIn(component); inner != nil {
			names = append(names, inner.entries(p.want)...)
		}
	}
	own := map[string]bool{}
	for _, n := range names {
		own[n] = true
	}
	for _, part := range append(p.parts(k), name) {
		if inner := p.kustomizationIn(part); inner != nil && part != name {
			p.governs(env, inner.name, names, append(slices.Clip(above), name), byFile)
			continue
		}
		if byFile[part] == nil {
			byFile[part] = map[string]map[string]bool{}
		}
		if before := byFile[part][env.name]; before != nil { // reached on two ways: both must govern
			both := map[string]bool{}
			for n := range before {
				if own[n] {
					both[n] = true
				}
			}
			byFile[part][env.name] = both
			continue
		}
		byFile[part][env.name] = maps.Clone(own)
	}
}

// guess pins what an environment gets from outside dir, for want of kustomize: it follows the part of kustomize that
// decides which images come out under which name.
func (p *planner) guess(env *root) error {
	images, err := p.images(env.name, nil)
	if err != nil {
		return err
	}
	entries := p.load(env.name).entries(p.want)
	var pins []string
	for _, repository := range images {
		if p.want.Matches(repository) && !slices.Contains(entries, repository) && !slices.Contains(pins, repository) {
			pins = append(pins, repository)
		}
	}
	return p.pin(env.name, pins)
}

// images returns the repositories that come into a kustomization from outside dir, and from files that others govern,
// under the names that its images: sees.
func (p *planner) images(name string, above []string) ([]string, error) {
	if slices.Contains(above, name) {
		return nil, fmt.Errorf("%s: the kustomizations use each other in a circle: %s", p.shown(name), strings.Join(append(above, name), " -> "))
	}
	if known, found := p.bases[name]; found {
		return known, nil
	}
	k := p.load(name)
	if k.err != nil && p.want.InText([]byte(k.content)) {
		return nil, k.err
	}
	images := edit.LockedPatchImages(k.root)
	for _, part := range p.parts(k) {
		below, err := p.imagesIn(part, append(slices.Clip(above), name))
		if err != nil {
			return nil, err
		}
		for _, image := range below {
			if !slices.Contains(images, image) {
				images = append(images, image)
			}
		}
	}
	for _, component := range p.locals(k, "components") {
		if inner := p.kustomizationIn(component); inner != nil {
			images = edit.Renamed(inner.root, images)
		}
	}
	if p.bases == nil {
		p.bases = map[string][]string{}
	}
	p.bases[name] = images
	return images, nil
}

// imagesIn returns the repositories that a part of a kustomization brings.
func (p *planner) imagesIn(part string, above []string) ([]string, error) {
	inner := p.kustomizationIn(part)
	switch {
	case inner == nil && p.inside(part) && p.links[part] == "":
		images, err := p.imagesOf(part)
		// What is not governed is edited where it stands.
		return slices.DeleteFunc(slices.Clone(images), func(name string) bool { return !p.governed[part][name] }), err
	case inner == nil:
		return p.imagesOf(part)
	}
	below, err := p.images(inner.name, above)
	if err != nil {
		return nil, err
	}
	if p.inside(inner.name) {
		entries := inner.entries(p.want)
		below = slices.DeleteFunc(slices.Clone(below), func(name string) bool { return slices.Contains(entries, name) })
	}
	return edit.Renamed(inner.root, below), nil
}

// imagesOf returns the repositories in a file.
func (p *planner) imagesOf(name string) ([]string, error) {
	if known, found := p.bases[name]; found {
		return known, nil
	}
	if !edit.IsManifest(name) {
		return nil, nil // a script or settings, for a generator
	}
	var content bytes.Buffer
	if err := p.read(name, &content); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // generated, or an error that the operator will name
		}
		return nil, err
	}
	var images []string
	u, err := edit.Read(name, p.shown(name), content.Bytes(), edit.Reading{Traces: p.traces})
	if err != nil && !p.want.InText(content.Bytes()) {
		return nil, nil // a template: the image is not in it
	}
	if err != nil {
		return nil, err
	}
	for _, r := range u.References(p.want) {
		if r.Container {
			images = append(images, r.Image.Repository)
		}
	}
	if p.bases == nil {
		p.bases = map[string][]string{}
	}
	p.bases[name] = images
	return images, nil
}

// parts returns the local paths that a kustomization is made from, relative to the root of the file system.
func (p *planner) parts(k *kustomizationFile) []string {
	out := p.locals(k, "resources", "bases", "components", "patches", "patchesStrategicMerge", "patchesJson6902",
		"transformers", "generators", "replacements", "configurations")
	for _, key := range []string{"configMapGenerator", "secretGenerator"} {
		list := edit.Deref(edit.At(k.root, key))
		if list == nil {
			continue
		}
		for _, generator := range list.Content {
			for _, kind := range []string{"files", "envs"} {
				if names := edit.Deref(edit.At(generator, kind)); names != nil {
					for _, name := range names.Content {
						_, file, found := strings.Cut(edit.Text(name), "=")
						if !found {
							file = edit.Text(name)
						}
						out = appendLocal(out, k.name, file)
					}
				}
			}
		}
	}
	return out
}

// locals returns the paths in some lists of a kustomization: items that are paths, or have one. A list may be a single
// item.
func (p *planner) locals(k *kustomizationFile, keys ...string) []string {
	var out []string
	for _, key := range keys {
		list := edit.Deref(edit.At(k.root, key))
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for _, item := range list.Content {
			if s := edit.Text(item); s != "" && !strings.Contains(s, "\n") {
				out = appendLocal(out, k.name, s)
			}
			out = appendLocal(out, k.name, edit.Text(edit.At(item, "path")))
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

// kustomizationIn returns the kustomization of a directory; nil when there is none, and for a file.
func (p *planner) kustomizationIn(dir string) *kustomizationFile {
	if k, known := p.directories[dir]; known {
		return k
	}
	p.directories[dir] = nil
	info, err := fs.Stat(p.fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		p.unread = append(p.unread, Unverified{p.shown(dir), "cannot be read: " + pathReason(err).Error()})
	}
	if err != nil || !info.IsDir() {
		return nil
	}
	for _, base := range edit.KustomizationNames {
		name := path.Join(dir, base)
		info, err := fs.Stat(p.fsys, name)
		if err == nil && info.Mode().IsRegular() {
			p.directories[dir] = p.load(name)
			break
		}
	}
	return p.directories[dir]
}

// load reads a kustomization.
func (p *planner) load(name string) *kustomizationFile {
	if k, found := p.graph[name]; found {
		return k
	}
	k := &kustomizationFile{name: name, root: &yaml.Node{Kind: yaml.MappingNode}}
	p.graph[name] = k
	var content bytes.Buffer
	if k.err = p.read(name, &content); k.err != nil {
		return k
	}
	k.content = content.String()
	docs, err := edit.Documents(p.shown(name), content.Bytes())
	if k.err = err; err == nil && len(docs) > 0 && len(docs[0].Content) > 0 {
		k.root = docs[0].Content[0]
	}
	return k
}
