package edit

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// finder collects the sites of one document.
type finder struct {
	sites   []site
	texts   []embedded          // scalars that are YAML themselves
	claimed map[*yaml.Node]bool // scalars that belong to a site
	setters map[string]*Split   // Flux setters for parts of a reference, by policy
	order   []string            // the policies of setters, as met
	policy  map[*yaml.Node]string
	foreign bool
	below   Layers
	loose   []*Split // tags and digests in values that have no repository, here or below
}

// NoChart is the chart of values in an object whose chart is not in the repository.
const NoChart = "\x00"

// Layers are the values that others lie over: a chart's own, below those of an environment. Chart is the chart's
// directory, "" for that of the file which is searched.
type Layers interface {
	// Keys returns the reference that stands at a path, under a prefix of its keys, and whether this run sets it; nil when
	// there is none.
	Keys(chart, path, prefix string) (found *Split, edited bool)
	// Registry returns the registry that any of the values put before all images, or "".
	Registry(chart string) string
}

// embedded is a scalar that holds YAML or JSON.
type embedded struct {
	node   *yaml.Node
	values bool // Helm values
}

// place is where the walk is.
type place struct {
	key    string   // the key that the node stands under
	values bool     // in Helm values
	path   []string // the keys from the root of the values
	chart  string   // the directory of the chart that the values are for, when they stand in an object
	notes  bool     // in metadata, where references are kept for people
	global string   // the registry that the values put before all images
	item   bool     // the node is an item of a list
	images bool     // below a key images: a text with a tag or a digest is an image
}

func (p place) under(key string) place {
	p.key, p.item, p.images = key, false, p.images || key == imagesKey
	if p.values {
		p.path = append(slices.Clip(p.path), key)
	}
	return p
}

// imagesKey is the key of a list or mapping of images, whatever the keys in it are called.
const imagesKey = "images"

func newFinder(below Layers) *finder {
	return &finder{claimed: map[*yaml.Node]bool{}, setters: map[string]*Split{}, policy: map[*yaml.Node]string{}, below: below}
}

// find finds the references of a document of a file.
func (f *finder) find(name string, doc *yaml.Node) {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return
	}
	f.search(formOf(name, doc.Content[0]), doc.Content[0])
}

// findText finds the references of a document in a text: values, if the key of the text says so.
func (f *finder) findText(doc *yaml.Node, isValues bool) {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return
	}
	form := formOf("", doc.Content[0])
	if form == values && !isValues {
		form = object
	}
	f.search(form, doc.Content[0])
}

func (f *finder) search(as form, root *yaml.Node) {
	switch as {
	case foreign:
		f.foreign = true
		return
	case kustomization:
		f.kustomization(root)
		f.walk(root, place{})
	case values:
		f.walk(root, place{values: true, global: f.registry("", root)})
	case parameters:
		f.applicationSource(root, place{})
		f.walk(root, place{})
	case object:
		f.walk(root, place{})
	case environment:
		f.environment(root)
	}
	f.fluxSetters(root)
}

// walk searches a node and all below it.
func (f *finder) walk(n *yaml.Node, p place) {
	switch n.Kind {
	case yaml.SequenceNode:
		if isJSONPatch(n) {
			f.jsonPatch(n)
			return
		}
		for _, item := range n.Content {
			if item.Kind == yaml.ScalarNode && !p.notes {
				f.listItem(item, p)
			}
			inner := p
			inner.item = true
			f.walk(item, inner)
		}
	case yaml.MappingNode:
		group, kind := groupKind(n)
		if kind != "" {
			if isForeignKind(group, kind) {
				return
			}
			p = place{}
			f.operatorSources(group, kind, n)
			if kind == "ImageTagTransformer" {
				f.entry(deref(at(n, "imageTag")))
			}
		}
		if at(n, "repoURL") != nil { // a source of an Application
			p.chart = ChartPath(text(at(n, "path")))
		}
		if !p.notes {
			f.shapes(n, p)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			f.child(n, n.Content[i].Value, n.Content[i+1], p)
		}
	}
}

// child searches the value of a key.
func (f *finder) child(parent *yaml.Node, key string, value *yaml.Node, p place) {
	child := p.under(key)
	switch key {
	case "containers", "initContainers", "ephemeralContainers":
		f.containers(value, child)
		return
	case "volumes":
		f.imageVolumes(value)
	case "metadata", "annotations", "labels", "commonAnnotations", "commonLabels", "status":
		child.notes = true
	case imagesKey:
		f.imageList(value)
	case "values", "valuesObject", "valuesInline", "valuesContent":
		if value.Kind == yaml.MappingNode && !p.values {
			child.values, child.path, child.chart = true, nil, chartOf(parent, p)
			child.global = f.registry(child.chart, value)
		}
	}
	if value.Kind == yaml.ScalarNode {
		f.scalar(parent, key, value, child)
		return
	}
	f.walk(value, child)
}

func (f *finder) containers(list *yaml.Node, p place) {
	list = deref(list)
	if list.Kind != yaml.SequenceNode {
		f.walk(list, p) // a custom resource, or values, may use the word for a mapping
		return
	}
	for _, item := range list.Content {
		container := deref(item)
		if merged(container, "tag") == nil && merged(container, "imageTag") == nil {
			f.container(merged(container, "image"))
		}
		f.walk(container, p)
	}
}

// imageVolumes finds OCI images that are mounted as volumes.
func (f *finder) imageVolumes(list *yaml.Node) {
	list = deref(list)
	if list.Kind != yaml.SequenceNode {
		return
	}
	for _, volume := range list.Content {
		f.container(at(deref(volume), "image", "reference"))
	}
}

// container adds a pod's image.
func (f *finder) container(n *yaml.Node) { f.add(n, true) }

// whole adds a scalar, or an alias of one, that holds a whole reference.
func (f *finder) whole(n *yaml.Node) { f.add(n, false) }

func (f *finder) add(n *yaml.Node, container bool) {
	if !isScalar(n) || f.claimed[n] || strings.TrimSpace(text(n)) == "" {
		return
	}
	f.claimed[n] = true
	f.sites = append(f.sites, &whole{n, container})
}

// scalar adds the value of a key that says that it is an image.
func (f *finder) scalar(parent *yaml.Node, key string, n *yaml.Node, p place) {
	if f.claimed[n] || p.notes {
		return
	}
	if isEmbedded(n) {
		f.texts = append(f.texts, embedded{n, strings.Contains(strings.ToLower(key), "values")})
		return
	}
	if !looksLikeReference(n.Value) {
		return
	}
	name := key
	if key == "value" || key == "default" { // an environment variable, a parameter
		name = text(scalarAt(parent, "name"))
	}
	if r := ref.Read(strings.TrimSpace(n.Value)); (namesImage(name) || p.images) && (r.Tag != "" || r.Digest != "") {
		f.whole(n)
	}
}

var assignmentPattern = regexp.MustCompile(`^(?:--?)?([A-Za-z][\w.-]*)=(.+)$`)

// listItem adds an item of a list: NAME=REFERENCE, if the name says that it is an image.
func (f *finder) listItem(n *yaml.Node, p place) {
	if f.claimed[n] {
		return
	}
	if isEmbedded(n) {
		f.texts = append(f.texts, embedded{n, false})
		return
	}
	if m := assignmentPattern.FindStringSubmatch(n.Value); m != nil && (namesImage(m[1]) || p.images) && looksLikeReference(m[2]) {
		f.claimed[n] = true
		f.sites = append(f.sites, &assignment{n})
	} else if r := ref.Read(n.Value); p.images && looksLikeReference(n.Value) && (r.Tag != "" || r.Digest != "") {
		f.whole(n)
	}
}

// environment adds the lines NAME=REFERENCE of a file of settings.
func (f *finder) environment(lines *yaml.Node) {
	for _, n := range lines.Content {
		_, value, found := strings.Cut(n.Value, "=")
		if r := ref.Read(value); found && looksLikeReference(value) && (r.Tag != "" || r.Digest != "") {
			f.claimed[n] = true
			f.sites = append(f.sites, &assignment{n})
		}
	}
}

// looksLikeReference reports whether a text may be a reference: no sentence, no address, no template's expression.
func looksLikeReference(s string) bool {
	s = strings.TrimSpace(s)
	return s != "" && !strings.ContainsAny(s, " \t\n\"'*") && !strings.Contains(s, "://") && !strings.HasPrefix(s, "{")
}

// isEmbedded reports whether a scalar may be YAML or JSON: several lines, or a mapping in one.
func isEmbedded(n *yaml.Node) bool {
	s := strings.TrimSpace(n.Value)
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "") &&
		(strings.Contains(s, "\n") || strings.Contains(s, ": ") || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[")) &&
		strings.Contains(s, ":")
}

// The ends of JSON pointers that lead to a container or to its image, and to a volume or to its image.
var (
	containerImagePath = regexp.MustCompile(`/(?:containers|initContainers|ephemeralContainers)/[^/]+(/image)?$`)
	volumeImagePath    = regexp.MustCompile(`/volumes/[^/]+(/image(?:/reference)?)?$`)
)

// isJSONPatch reports whether a list is a JSON 6902 patch: a list of operations.
func isJSONPatch(n *yaml.Node) bool {
	return len(n.Content) > 0 && scalarAt(n.Content[0], "op") != nil && scalarAt(n.Content[0], "path") != nil
}

func (f *finder) jsonPatch(n *yaml.Node) {
	for _, operation := range n.Content {
		where := text(scalarAt(operation, "path"))
		value := at(operation, "value")
		if where == "" || value == nil {
			continue
		}
		last := where[strings.LastIndexByte(where, '/')+1:]
		p := place{key: last, notes: strings.Contains(where, "/metadata/"), images: strings.Contains(where, "/"+imagesKey+"/")}
		if m := volumeImagePath.FindStringSubmatch(where); m != nil {
			f.container(at(value, []string{"image", "reference"}[strings.Count(m[1], "/"):]...))
		}
		switch m := containerImagePath.FindStringSubmatch(where); {
		case m != nil && m[1] != "":
			f.container(value)
		case m != nil:
			f.container(at(value, "image"))
			f.walk(value, p)
		case value.Kind == yaml.ScalarNode:
			f.scalar(operation, last, value, p)
		default:
			f.child(operation, last, value, p)
		}
	}
}

// kustomization finds what only kustomizations have.
func (f *finder) kustomization(n *yaml.Node) {
	if list := deref(at(n, "images")); list != nil && list.Kind == yaml.SequenceNode {
		for _, item := range list.Content {
			f.entry(deref(item))
		}
	}
}

// imageList finds the references in a list called images: a kustomization's entries, wherever they stand, or plain
// references.
func (f *finder) imageList(list *yaml.Node) {
	list = deref(list)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range list.Content {
		switch m := deref(item); {
		case m.Kind == yaml.ScalarNode && !f.claimed[item] && looksLikeReference(m.Value) && !strings.Contains(m.Value, "="):
			f.whole(item)
		case at(m, "newName") != nil || at(m, "newTag") != nil || at(m, "digest") != nil && at(m, "repository") == nil:
			f.entry(m)
		}
	}
}

func (f *finder) entry(item *yaml.Node) {
	e := &entry{item} // nil has no name
	if scalarAt(item, "name") == nil || f.claimed[e.nodes()[0]] || e.suffixOnly() {
		return
	}
	f.sites = append(f.sites, e)
	for _, n := range e.nodes() {
		f.claimed[n] = true
	}
}

// setterComment is how Flux marks a field: image: x # {"$imagepolicy": "flux-system:vote:tag"}
var setterComment = regexp.MustCompile(`\{\s*"\$imagepolicy"\s*:.*\}`)

// fluxSetters finds the fields that Flux's markers declare to be images, wherever they stand.
func (f *finder) fluxSetters(root *yaml.Node) {
	f.markedScalars(root)
	for _, policy := range f.order {
		k := f.setters[policy]
		if k.repository == nil && k.tag == nil && k.digest == nil {
			continue
		}
		f.sites = append(f.sites, k)
	}
}

func (f *finder) markedScalars(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		for i, child := range n.Content {
			if n.Kind != yaml.MappingNode || i%2 == 1 {
				f.markedScalars(child)
			}
		}
		return
	}
	marker := setterComment.FindString(n.LineComment)
	if marker == "" {
		return
	}
	var setter map[string]string
	if json.Unmarshal([]byte(marker), &setter) != nil {
		return
	}
	parts := strings.Split(setter["$imagepolicy"], ":")
	if len(parts) < 2 {
		return
	}
	policy := parts[0] + ":" + parts[1]
	f.policy[n] = policy
	if f.claimed[n] {
		return
	}
	f.claimed[n] = true
	if len(parts) == 2 {
		f.sites = append(f.sites, &whole{scalar: n})
		return
	}
	k := f.setters[policy]
	if k == nil {
		k = &Split{marked: true}
		f.setters[policy] = k
		f.order = append(f.order, policy)
	}
	switch parts[2] {
	case "name":
		k.repository = n
	case "tag":
		k.tag = n
	case "digest":
		k.digest = n
	}
}

// isParameter reports whether the tag of a reference comes from somewhere else: {{tag}} of a generator of an ApplicationSet,
// {{workflow.parameters.tag}}. It may be another one each time, so it is not replaced by one image.
func isParameter(s site) bool { return strings.Contains(s.image().Tag, "{{") }

// meant returns the sites that are the target's: by the repository that they name, or by a Flux policy which they
// share with one that is.
func (f *finder) meant(w Wanted) map[site]bool {
	policies := map[string]bool{}
	for policy := range w.policies {
		policies[policy] = true
	}
	out := map[site]bool{}
	for _, s := range f.sites {
		if !slices.ContainsFunc(s.names(), w.Matches) || isParameter(s) {
			continue
		}
		out[s] = true
		for _, n := range s.nodes() {
			if policy := f.policy[n]; policy != "" {
				policies[policy] = true
			}
		}
	}
	for _, s := range f.sites {
		for _, n := range s.nodes() {
			if policies[f.policy[n]] {
				out[s] = true
			}
		}
	}
	return out
}
