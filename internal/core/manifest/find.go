package manifest

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// finder collects the sites of one document.
type finder struct {
	sites   []site
	claimed map[*yaml.Node]bool // scalars that belong to a site
	setters map[string]*keys    // Flux setters for parts of a reference, by policy
	order   []string            // the policies of setters, as met
	policy  map[*yaml.Node]string
}

// form is what a document is, as far as it decides where images stand in it.
type form int

const (
	object        form = iota // a Kubernetes object, a patch, or anything else
	kustomization             // has images:, patches: …
	values                    // Helm values
	parameters                // .argocd-source-NAME.yaml: an Application's source
)

// kustomizationNames are the names that kustomize looks for, in its order.
var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func isKustomization(name string) bool { return slices.Contains(kustomizationNames, path.Base(name)) }

// formOf tells what a document is by its file's name and its own kind.
func formOf(name string, root *yaml.Node) form {
	base := path.Base(name)
	group, kind := groupKind(root)
	switch {
	case isKustomization(name) || group == "kustomize.config.k8s.io":
		return kustomization
	case kind != "" || root.Kind != yaml.MappingNode:
		return object
	case strings.HasPrefix(base, ".argocd-source"):
		return parameters
	case strings.Contains(strings.ToLower(base), "values") || path.Base(path.Dir(name)) == "values":
		return values
	}
	return object
}

// find returns the sites of a document.
func find(name string, doc *yaml.Node) *finder {
	f := &finder{claimed: map[*yaml.Node]bool{}, setters: map[string]*keys{}, policy: map[*yaml.Node]string{}}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return f
	}
	root := doc.Content[0]
	switch formOf(name, root) {
	case kustomization:
		f.kustomization(root)
	case values:
		f.values(root)
		f.object(root)
	case parameters:
		f.applicationSource(root)
	case object:
		if _, kind := groupKind(root); kind == "" {
			f.repositories(root)
		}
		f.object(root)
	}
	f.fluxSetters(root)
	return f
}

// groupKind returns an object's API group ("" for the core group) and kind; both "" for what is no object.
func groupKind(n *yaml.Node) (group, kind string) {
	version, k := scalarAt(n, "apiVersion"), scalarAt(n, "kind")
	if version == nil || k == nil {
		return "", ""
	}
	if g, _, found := strings.Cut(text(version), "/"); found {
		group = g
	}
	return group, text(k)
}

// object walks Kubernetes objects, alone, in Lists or anywhere else, for pod templates: whatever kind it is in, a pod
// template is where containers are.
func (f *finder) object(n *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		if isJSONPatch(n) {
			f.jsonPatch(n)
			return
		}
		for _, item := range n.Content {
			f.object(item)
		}
	case yaml.MappingNode:
		group, kind := groupKind(n)
		switch {
		case group == "" && (kind == "ConfigMap" || kind == "Secret"), kind == "CustomResourceDefinition":
			return // text and schemas, however much they look like pods
		case group == "helm.toolkit.fluxcd.io" && kind == "HelmRelease":
			f.values(at(n, "spec", "values"))
		case group == "kustomize.toolkit.fluxcd.io" && kind == "Kustomization":
			f.kustomizeImages(at(n, "spec", "images"))
		case group == "argoproj.io" && kind == "Application":
			f.application(at(n, "spec"))
		case group == "argoproj.io" && kind == "ApplicationSet":
			f.application(at(n, "spec", "template", "spec"))
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			switch key, value := n.Content[i].Value, n.Content[i+1]; key {
			case "containers", "initContainers", "ephemeralContainers":
				f.containers(value)
			case "volumes":
				f.imageVolumes(value)
			default:
				f.object(value)
			}
		}
	}
}

func (f *finder) containers(list *yaml.Node) {
	list = deref(list)
	if list.Kind != yaml.SequenceNode {
		f.object(list) // a custom resource may use the word for a mapping
		return
	}
	for _, container := range list.Content {
		container = deref(container)
		f.whole(merged(container, "image"))
		f.object(container)
	}
}

// imageVolumes finds OCI images that are mounted as volumes.
func (f *finder) imageVolumes(list *yaml.Node) {
	for _, volume := range deref(list).Content {
		f.whole(at(deref(volume), "image", "reference"))
	}
}

// whole adds a scalar, or an alias of one, that holds a whole reference.
func (f *finder) whole(n *yaml.Node) {
	if target := deref(n); target == nil || target.Kind != yaml.ScalarNode || f.claimed[n] || strings.TrimSpace(target.Value) == "" {
		return
	}
	f.claimed[n] = true
	f.sites = append(f.sites, whole{n})
}

var containerImagePath = regexp.MustCompile(`/(?:containers|initContainers|ephemeralContainers)/[^/]+(/image)?$`)

// isJSONPatch tells a JSON 6902 patch, a list of operations, from other lists.
func isJSONPatch(n *yaml.Node) bool {
	return len(n.Content) > 0 && scalarAt(n.Content[0], "op") != nil && scalarAt(n.Content[0], "path") != nil
}

func (f *finder) jsonPatch(n *yaml.Node) {
	for _, operation := range n.Content {
		where := scalarAt(operation, "path")
		if where == nil {
			continue
		}
		switch m := containerImagePath.FindStringSubmatch(text(where)); {
		case m == nil:
			f.object(operation)
		case m[1] != "":
			f.whole(at(operation, "value"))
		default:
			f.whole(at(operation, "value", "image"))
		}
	}
}

// kustomization finds the images of a kustomization; what its patches say as text is text.
func (f *finder) kustomization(n *yaml.Node) {
	f.kustomizeImages(at(n, "images"))
	if charts := at(n, "helmCharts"); charts != nil {
		for _, chart := range charts.Content {
			f.values(at(chart, "valuesInline"))
		}
	}
}

func (f *finder) kustomizeImages(list *yaml.Node) {
	list = deref(list)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range list.Content {
		item = deref(item)
		if e := (entry{item}); scalarAt(item, "name") != nil {
			f.sites = append(f.sites, e)
			for _, n := range e.nodes() {
				f.claimed[n] = true
			}
		}
	}
}

// application finds the images of an Argo CD Application's sources.
func (f *finder) application(spec *yaml.Node) {
	f.applicationSource(at(spec, "source"))
	if sources := deref(at(spec, "sources")); sources != nil {
		for _, source := range sources.Content {
			f.applicationSource(deref(source))
		}
	}
}

func (f *finder) applicationSource(source *yaml.Node) {
	if images := deref(at(source, "kustomize", "images")); images != nil {
		for _, image := range images.Content {
			if image.Kind == yaml.ScalarNode && !f.claimed[image] {
				f.claimed[image] = true
				f.sites = append(f.sites, override{image})
			}
		}
	}
	f.values(at(source, "helm", "valuesObject"))
	f.helmParameters(at(source, "helm", "parameters"))
}

// helmParameters finds references in --set parameters: a list of {name: image.tag, value: "1"}.
func (f *finder) helmParameters(list *yaml.Node) {
	list = deref(list)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	value := map[string]*yaml.Node{}
	var order []string
	for _, item := range list.Content {
		if name, v := scalarAt(item, "name"), scalarAt(item, "value"); name != nil && v != nil {
			value[text(name)] = v
			order = append(order, text(name))
		}
	}
	for _, name := range order {
		prefix, last := "", name
		if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
			prefix, last = name[:dot+1], name[dot+1:]
		}
		switch last {
		case "repository":
			f.keys(&keys{registry: value[prefix+"registry"], repository: value[name], tag: value[prefix+"tag"], digest: value[prefix+"digest"]})
		case "image":
			f.keys(&keys{repository: value[name], tag: value[prefix+"tag"]})
		}
	}
}

// values walks Helm values for the shapes that charts use: repository with tag or digest beside it (and perhaps the
// registry apart), image with tag beside it, and image as a whole reference.
func (f *finder) values(n *yaml.Node) {
	if n == nil {
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			f.values(item)
		}
	case yaml.MappingNode:
		f.repository(n)
		if image := scalarAt(n, "image"); image != nil {
			f.keys(&keys{repository: at(n, "image"), tag: tagAt(n, "tag"), digest: tagAt(n, "digest")})
		}
		for i := 1; i < len(n.Content); i += 2 {
			f.values(n.Content[i])
		}
	}
}

// repositories walks what may be Helm values, by another name than values, for the shape that is nothing else:
// repository with tag or digest beside it.
func (f *finder) repositories(n *yaml.Node) {
	if n.Kind == yaml.MappingNode && (tagAt(n, "tag") != nil || tagAt(n, "digest") != nil) {
		f.repository(n)
	}
	for _, child := range n.Content {
		f.repositories(child)
	}
}

func (f *finder) repository(n *yaml.Node) {
	if scalarAt(n, "repository") != nil {
		f.keys(&keys{
			registry: scalarAt(n, "registry"), repository: at(n, "repository"), tag: tagAt(n, "tag"), digest: tagAt(n, "digest"),
		})
	}
}

// keys adds a reference that stands in several scalars; one that is whole in its repository is added as such.
func (f *finder) keys(k *keys) {
	if text(k.repository) == "" || f.claimed[k.repository] {
		return
	}
	if r := ref.Read(text(k.repository)); r.Tag != "" || r.Digest != "" || (k.tag == nil && k.digest == nil && k.registry == nil) {
		f.whole(k.repository)
		return
	}
	for _, n := range k.nodes() {
		f.claimed[n] = true
	}
	f.sites = append(f.sites, k)
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
		f.sites = append(f.sites, whole{n})
		return
	}
	k := f.setters[policy]
	if k == nil {
		k = &keys{}
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

// at follows keys from a mapping; nil when one is missing.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = value(deref(n), key)
	}
	return n
}

func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].Kind == yaml.ScalarNode {
			return n.Content[i+1]
		}
	}
	return nil
}

// merged is at for one key, which may also come in through <<.
func merged(n *yaml.Node, key string) *yaml.Node { return mergedFrom(n, key, 0) }

func mergedFrom(n *yaml.Node, key string, depth int) *yaml.Node {
	if v := at(n, key); v != nil || depth > 10 {
		return v
	}
	from := deref(at(n, "<<"))
	if from == nil {
		return nil
	}
	if from.Kind != yaml.SequenceNode {
		return mergedFrom(from, key, depth+1)
	}
	for _, item := range from.Content {
		if v := mergedFrom(deref(item), key, depth+1); v != nil {
			return v
		}
	}
	return nil
}

// scalarAt returns the scalar that stands at a key, behind an alias perhaps, if it is text; nil otherwise.
func scalarAt(n *yaml.Node, key string) *yaml.Node {
	v := at(n, key)
	if target := deref(v); target == nil || target.Kind != yaml.ScalarNode || target.Tag == "!!null" {
		return nil
	}
	return v
}

// tagAt is scalarAt for what may be empty: tag: with nothing behind it waits for its value.
func tagAt(n *yaml.Node, key string) *yaml.Node {
	v := at(n, key)
	if target := deref(v); target == nil || target.Kind != yaml.ScalarNode {
		return nil
	}
	return v
}

// deref returns what an alias stands for.
func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// text is a scalar's value, behind an alias or not; "" for anything else.
func text(n *yaml.Node) string {
	if n = deref(n); n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
