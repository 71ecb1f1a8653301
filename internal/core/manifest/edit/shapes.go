package edit

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// role is what a key holds of a reference that stands in several.
type role int

const (
	noRole role = iota
	registryRole
	repositoryRole
	tagRole
	digestRole
)

// endings are the ends of keys, normalised, that charts use for the parts of a reference. References in one mapping
// differ in what stands before the end: webImage and webImageTag, jobImage and jobImageTag. Of several keys for a
// repository the first in this list counts.
var endings = []struct {
	end  string
	role role
}{
	{"imagedigest", digestRole}, {"digest", digestRole}, {"imagesha", digestRole}, {"sha", digestRole},
	{"imagetag", tagRole}, {"tag", tagRole},
	{"imageregistry", registryRole}, {"registry", registryRole},
	{"imagerepository", repositoryRole}, {"repository", repositoryRole}, {"imagerepo", repositoryRole},
	{"imagename", repositoryRole}, {"image", repositoryRole}, {"repo", repositoryRole}, {"name", repositoryRole},
}

// roleOf returns what a key holds, what stands before that in the key, and the ending.
func roleOf(key string) (r role, prefix, ending string) {
	n := normal(key)
	for _, e := range endings {
		if before, found := strings.CutSuffix(n, e.end); found && (before == "" || e.end != "name" && e.end != "sha") {
			return e.role, before, e.end
		}
	}
	return noRole, "", ""
}

// candidate is a reference in several keys of one mapping, as far as found.
type candidate struct {
	Split
	key    string // of the repository
	ending string
}

// shapes finds the references that stand in several keys of a mapping.
func (f *finder) shapes(n *yaml.Node, p place) {
	found := map[string]*candidate{}
	var order []string
	for _, pair := range pairsOf(n) {
		role, prefix, ending := roleOf(pair.key)
		if role == noRole || !isScalar(pair.value) || f.claimed[pair.value] && !pair.inherited {
			continue
		}
		c := found[prefix]
		if c == nil {
			c = &candidate{Split: Split{mapping: n, inherited: map[*yaml.Node]string{}, prefix: prefix}}
			found[prefix] = c
			order = append(order, prefix)
		}
		if c.take(role, ending, pair) && pair.inherited {
			c.inherited[pair.value] = pair.key
		}
	}
	shareVersion(found)
	for _, prefix := range order {
		c := found[prefix]
		c.path = strings.Join(p.path, "\x00")
		c.globalRegistry = p.global
		f.candidate(c, n, p)
	}
}

// shareVersion gives a tag and a digest that have no repository with their prefix to the only image that has neither:
// baseImage and tag.
func shareVersion(found map[string]*candidate) {
	plain := found[""]
	if plain == nil || plain.repository != nil && plain.ending != "name" || plain.tag == nil && plain.digest == nil {
		return
	}
	var without []*candidate
	for _, c := range found {
		if c.repository != nil && c.prefix != "" && c.tag == nil && c.digest == nil && ref.Read(text(c.repository)).Tag == "" {
			without = append(without, c)
		}
	}
	if len(without) != 1 {
		return
	}
	c := without[0]
	c.tag, c.digest = plain.tag, plain.digest
	for _, n := range present(c.tag, c.digest) {
		if key, inherited := plain.inherited[n]; inherited {
			c.inherited[n] = key
		}
	}
	plain.tag, plain.digest = nil, nil
}

// take notes a key, and reports whether it is one of the reference's.
func (c *candidate) take(r role, ending string, pair pair) bool {
	v := pair.value
	switch {
	case r == registryRole && c.registry == nil:
		c.registry = v
	case r == tagRole && (c.tag == nil || ending == "imagetag"):
		c.tag = v
	case r == digestRole && (c.digest == nil || ending == "digest"):
		c.digest = v
	case r == repositoryRole && looksLikeReference(text(v)) && (c.repository == nil || rank(ending) < rank(c.ending)):
		c.repository, c.key, c.ending = v, pair.key, ending
	default:
		return false
	}
	return true
}

func rank(ending string) int {
	for i, e := range endings {
		if e.end == ending {
			return i
		}
	}
	return len(endings)
}

// candidate decides whether what was found is a reference.
func (f *finder) candidate(c *candidate, mapping *yaml.Node, p place) {
	if c.repository == nil {
		f.versionOnly(c, p)
		return
	}
	versioned := c.tag != nil || c.digest != nil
	if r := ref.Read(text(c.repository)); r.Tag != "" || r.Digest != "" {
		if c.ending != "name" {
			f.whole(c.repository) // whatever stands beside it
		}
		return
	}
	// name: and repo: have many uses: only beside a tag or a digest, and with a path or in a mapping called image.
	loose := c.ending == "name" || c.ending == "repo"
	if loose && (!versioned || !namesImage(p.key) && !strings.Contains(text(c.repository), "/")) {
		return
	}
	if f.foundBefore(c) {
		return
	}
	switch {
	case versioned, c.registry != nil && !loose:
	case p.values && p.item && c.key == "image" && isContainer(mapping, p.key): // passed on as it is
		f.whole(c.repository)
		return
	case !p.values && (c.ending == "image" || c.ending == "imagename"):
		if !hasVersion(mapping, c.prefix) {
			f.whole(c.repository)
			return
		}
	case p.values && mapping.Anchor != "": // completed where it is merged
		return
	case p.values && (c.ending == "image" || c.ending == "imagename"):
	case p.values && strings.HasSuffix(c.ending, "repository") && (namesImage(p.key) || hasHost(c, p)):
	default:
		return
	}
	k := &c.Split
	if f.below != nil && !versioned && p.values {
		k.below, k.belowEdited = f.below.Keys(p.chart, c.path, c.prefix)
	}
	f.addKeys(k)
}

// isContainer reports whether an item of a list in values is a container of a pod, by the list's key, extraInitContainers or
// sidecars, or by the fields that only a container has. Charts pass it on as it is, and put no registry before its image.
func isContainer(item *yaml.Node, list string) bool {
	if scalarAt(item, "name") == nil {
		return false
	}
	if key := normal(list); strings.HasSuffix(key, "containers") || strings.HasSuffix(key, "sidecars") {
		return true
	}
	for key := range pairs(item) {
		switch key {
		case "command", "args", "env", "envFrom", "ports", "volumeMounts", "imagePullPolicy", "securityContext", "livenessProbe", "readinessProbe":
			return true
		}
	}
	return false
}

func hasHost(c *candidate, p place) bool {
	return p.global != "" || (ref.Ref{Repository: text(c.repository)}).Host() != ""
}

// hasVersion reports whether a mapping has a version beside its image, as custom resources do whose operator puts them
// together.
func hasVersion(mapping *yaml.Node, prefix string) bool {
	for key := range pairs(mapping) {
		if n := normal(key); n == prefix+"version" || n == prefix+"imageversion" {
			return true
		}
	}
	return false
}

// foundBefore reports whether all of a reference came through merge keys and was found where it stands.
func (f *finder) foundBefore(c *candidate) bool {
	for _, n := range c.nodes() {
		if _, inherited := c.inherited[n]; !inherited || !f.claimed[n] {
			return false
		}
	}
	return true
}

// versionOnly adds a tag or digest whose repository stands in the values below these.
func (f *finder) versionOnly(c *candidate, p place) {
	if f.below == nil || !p.values || c.tag == nil && c.digest == nil {
		return
	}
	if c.Split.below, c.Split.belowEdited = f.below.Keys(p.chart, c.path, c.prefix); c.Split.below != nil {
		f.addKeys(&c.Split)
	} else if p.chart == "" && c.mapping != nil {
		f.loose = append(f.loose, &c.Split)
	}
}

// addKeys adds a reference in several scalars, unless one of its own belongs to another.
func (f *finder) addKeys(k *Split) {
	for _, n := range k.nodes() {
		if _, inherited := k.inherited[n]; f.claimed[n] && !inherited {
			return
		}
	}
	for _, n := range k.nodes() {
		if _, inherited := k.inherited[n]; !inherited {
			f.claimed[n] = true
		}
	}
	f.sites = append(f.sites, k)
}

// registry returns the registry that values, or those below them, put before the repositories of all images.
func (f *finder) registry(chart string, root *yaml.Node) string {
	if registry := globalRegistry(root); registry != "" || f.below == nil {
		return registry
	}
	return f.below.Registry(chart)
}

// globalRegistry returns the registry that a chart puts before the repositories of all its images, by the keys that
// charts use for it; "" when the values set none.
func globalRegistry(root *yaml.Node) string {
	for _, keys := range [][]string{
		{"global", "imageRegistry"}, {"global", "image", "registry"}, {"global", "registry"}, {"global", "dockerRegistry"},
		{"imageRegistry"}, {"dockerRegistry"},
	} {
		if len(keys) == 1 && (at(root, "imageRepository") != nil || at(root, "image") != nil && isScalar(at(root, "image"))) {
			continue // the registry of the image beside it
		}
		if registry := scalarText(at(root, keys...)); registry != "" && looksLikeReference(registry) {
			return registry
		}
	}
	return ""
}

// operatorSources finds what only the objects of Argo CD and Flux have.
func (f *finder) operatorSources(group, kind string, n *yaml.Node) {
	if group != "argoproj.io" {
		return
	}
	spec := at(n, "spec")
	switch kind {
	case "ApplicationSet":
		spec = at(spec, "template", "spec")
	case "Application":
	default:
		return
	}
	f.applicationSource(at(spec, "source"), place{})
	if sources := deref(at(spec, "sources")); sources != nil {
		for _, source := range sources.Content {
			f.applicationSource(deref(source), place{})
		}
	}
}

func (f *finder) applicationSource(source *yaml.Node, p place) {
	if images := deref(at(source, "kustomize", "images")); images != nil {
		for _, image := range images.Content {
			if image.Kind == yaml.ScalarNode && !f.claimed[image] {
				f.claimed[image] = true
				f.sites = append(f.sites, &override{image})
			}
		}
	}
	if p.chart = ChartPath(text(at(source, "path"))); p.chart == "" {
		p.chart = NoChart
	}
	f.helmParameters(at(source, "helm", "parameters"), p)
}

// helmParameters finds references in --set parameters: a list of {name: image.tag, value: "1"}.
func (f *finder) helmParameters(list *yaml.Node, p place) {
	list = deref(list)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	found := map[string]*candidate{} // by path and prefix
	var order []string
	for _, item := range list.Content {
		name, value := text(at(item, "name")), scalarAt(item, "value")
		dot := strings.LastIndexByte(name, '.')
		role, prefix, ending := roleOf(name[dot+1:])
		if value == nil || role == noRole {
			continue
		}
		parent := strings.Join(strings.Split(name[:max(dot, 0)], "."), "\x00")
		id := parent + "\n" + prefix
		if found[id] == nil {
			found[id] = &candidate{Split: Split{prefix: prefix, path: parent}}
			order = append(order, id)
		}
		found[id].take(role, ending, pair{key: name, value: value})
	}
	p.values = true
	for _, id := range order {
		c := found[id]
		switch {
		case c.repository == nil:
			f.versionOnly(c, p)
		case c.ending == "name" || c.ending == "repo":
		case ref.Read(text(c.repository)).Tag != "" || ref.Read(text(c.repository)).Digest != "":
			f.whole(c.repository)
		default:
			if c.tag == nil && c.digest == nil && f.below != nil {
				c.Split.below, c.Split.belowEdited = f.below.Keys(p.chart, c.path, c.prefix)
			}
			f.addKeys(&c.Split)
		}
	}
}

// chartOf returns the directory of the chart that values in an object are for, when it is in the repository.
func chartOf(parent *yaml.Node, p place) string {
	chart := p.chart
	if name := text(at(parent, "chart", "spec", "chart")); name != "" { // a HelmRelease
		chart = ChartPath(name)
	}
	if chart == "" {
		return NoChart
	}
	return chart
}

// ChartPath cleans the path of a chart relative to the repository's root; "" for a chart's name.
func ChartPath(chart string) string {
	if !strings.Contains(chart, "/") || strings.Contains(chart, "://") {
		return ""
	}
	return strings.TrimPrefix(path.Clean("/"+chart), "/")
}

// keysAt returns the reference that stands in several keys at a path of Helm values, under a prefix.
func (f *finder) keysAt(path, prefix string) *Split {
	i := slices.IndexFunc(f.sites, func(s site) bool {
		k, ok := s.(*Split)
		return ok && k.repository != nil && k.path == path && k.prefix == prefix
	})
	if i < 0 {
		return nil
	}
	return f.sites[i].(*Split)
}
