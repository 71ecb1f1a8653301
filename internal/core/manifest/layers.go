package manifest

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// tagEndings are the ends of the keys of tags and digests, in the ways of writing them.
var tagEndings = [][]byte{[]byte("tag"), []byte("Tag"), []byte("TAG"), []byte("igest"), []byte("sha"), []byte("Sha")}

// mayHoldTag reports, without parsing, whether content can be Helm values that hold a tag or a digest whose repository
// stands in the chart's own values.
func mayHoldTag(content []byte) bool {
	if !edit.MayHold(content, tagEndings) {
		return false
	}
	isObject := bytes.HasPrefix(content, []byte("kind:")) || bytes.Contains(content, []byte("\nkind:"))
	return !isObject || bytes.Contains(content, []byte("HelmRelease")) || bytes.Contains(content, []byte("argoproj.io"))
}

// layered holds the files that have the image's tag, and not its name: values of an environment over those of a chart.
func (p *planner) layered() error {
	slices.Sort(p.tagged)
	for _, name := range p.tagged {
		var content bytes.Buffer
		if err := p.read(name, &content); err != nil {
			return err
		}
		h := held{name, content.Bytes()}
		u, err := p.open(h)
		if err != nil {
			continue // the image is not in it
		}
		if slices.ContainsFunc(u.References(p.want), func(r edit.Reference) bool { return r.Meant }) {
			p.held = append(p.held, h)
		}
		for _, l := range u.Loose() {
			p.loose = append(p.loose, looseTag{name, l})
		}
	}
	return nil
}

// looseTag is a tag or a digest in values of which it is not known what chart they are for.
type looseTag struct {
	file string
	edit.Loose
}

// checkLoose lists the loose tags that stand where an image that was set has its own: they may be laid over it.
func (p *planner) checkLoose() {
	for _, l := range p.loose {
		for _, h := range p.held {
			r := p.results[h.path]
			if r == nil || r.Matched == 0 {
				continue
			}
			if k := p.valuesIn(h.path).At(l.Path, l.Prefix); k != nil && p.want.Matches(k.Repository()) {
				p.edit.Unverified = append(p.edit.Unverified, Unverified{fmt.Sprintf("%s:%d", p.shown(l.file), l.Line),
					fmt.Sprintf("%s may be laid over that of %s, and is left as it is: name its keys under gitops.images in aksflow.yaml if so", l.Key, p.shown(h.path))})
				break
			}
		}
	}
}

// findCharts reads which values files are laid over which charts, where Argo CD, Flux or kustomize are told so.
func (p *planner) findCharts() {
	p.charts = map[string]string{}
	slices.Sort(p.naming)
	for _, name := range p.naming {
		var content bytes.Buffer
		if p.read(name, &content) != nil {
			continue
		}
		docs, err := edit.Documents(name, content.Bytes())
		if err != nil {
			continue // what does not parse is judged later
		}
		for _, doc := range docs {
			for _, root := range doc.Content {
				applications, err := expanded(root, p.fsys)
				if err != nil {
					applications = []*yaml.Node{root} // it is judged later
				}
				for _, application := range applications {
					p.chartsIn(name, application)
				}
			}
		}
	}
}

// chartsIn notes the values files that a mapping, or one in it, names.
func (p *planner) chartsIn(file string, n *yaml.Node) {
	for _, child := range n.Content {
		p.chartsIn(file, child)
	}
	note := func(base, chart string, list *yaml.Node) {
		list = edit.Deref(list)
		if chart == "" || list == nil {
			return
		}
		for _, item := range append(slices.Clone(list.Content), list) {
			values := edit.Text(item)
			if values == "" || strings.Contains(values, "://") {
				continue
			}
			if strings.HasPrefix(values, "$") { // of another source of the Application, at its root
				_, rest, _ := strings.Cut(values, "/")
				p.charts[path.Clean(rest)] = chart
				continue
			}
			p.charts[path.Join(base, values)] = chart
		}
	}
	chart := edit.ChartPath(edit.Text(edit.At(n, "path")))
	note(chart, chart, edit.At(n, "helm", "valueFiles"))
	if spec := edit.At(n, "chart", "spec"); spec != nil { // a HelmRelease: from the root of its source
		note("", edit.ChartPath(edit.Text(edit.At(spec, "chart"))), edit.At(spec, "valuesFiles"))
	}
	if name := edit.Text(edit.At(n, "name")); name != "" && edit.At(n, "valuesFile") != nil { // helmCharts of a kustomization
		dir := path.Dir(file)
		chart := path.Join(dir, "charts", name)
		note(dir, chart, edit.At(n, "valuesFile"))
		note(dir, chart, edit.At(n, "additionalValuesFiles"))
	}
}

// layersOf returns the values that those in a file lie over.
func (p *planner) layersOf(file string) edit.Layers { return fileLayers{p, file} }

type fileLayers struct {
	*planner
	file string
}

// Keys implements edit.Layers. A chart's own values come first, then other files in the same directory, then those of the
// directories above.
func (l fileLayers) Keys(chart, at, prefix string) (*edit.Split, bool) {
	for _, name := range l.candidates(chart) {
		if k := l.find(name, at, prefix); k != nil {
			return k, l.edits(name, k)
		}
	}
	// The values of a chart that this chart has in it stand under its name.
	sub, rest, found := strings.Cut(at, "\x00")
	if sub == "" || chart == edit.NoChart {
		return nil, false
	}
	if !found {
		rest = ""
	}
	base := chart
	if base == "" {
		base = path.Dir(l.file)
	}
	name := path.Join(base, "charts", sub, "values.yaml")
	if k := l.find(name, rest, prefix); k != nil {
		return k, l.edits(name, k)
	}
	return nil, false
}

// Registry implements edit.Layers.
func (l fileLayers) Registry(chart string) string {
	for _, name := range l.candidates(chart) {
		if registry := l.valuesIn(name).Registry(); registry != "" {
			return registry
		}
	}
	return ""
}

func (l fileLayers) find(name, at, prefix string) *edit.Split { return l.valuesIn(name).At(at, prefix) }

// edits reports whether the reference in a file is one that this run sets.
func (l fileLayers) edits(name string, k *edit.Split) bool {
	return l.inside(name) && slices.Contains(l.own, name) && l.want.Matches(k.Repository())
}

// candidates returns the files that may hold values below those of the file.
func (l fileLayers) candidates(chart string) []string {
	if chart == edit.NoChart {
		return nil
	}
	if chart == "" {
		chart = l.charts[l.file]
	}
	if chart != "" {
		return []string{path.Join(chart, "values.yaml"), path.Join(chart, "values.yml")}
	}
	dir := path.Dir(l.file)
	out := []string{path.Join(dir, "values.yaml"), path.Join(dir, "values.yml")}
	for _, h := range l.held {
		if path.Dir(h.path) == dir && !edit.IsKustomization(h.path) {
			out = append(out, h.path)
		}
	}
	for range 4 {
		if dir == "." {
			break
		}
		dir = path.Dir(dir)
		out = append(out, path.Join(dir, "values.yaml"), path.Join(dir, "values.yml"))
	}
	return slices.DeleteFunc(out, func(name string) bool { return name == l.file })
}

// valuesIn returns the references in a file of Helm values; nil when it is not one.
func (p *planner) valuesIn(name string) *edit.Values {
	if v, known := p.values[name]; known {
		return v
	}
	if p.values == nil {
		p.values = map[string]*edit.Values{}
	}
	p.values[name] = nil
	var content bytes.Buffer
	if p.read(name, &content) == nil {
		p.values[name] = edit.ReadValues(name, content.Bytes())
	}
	return p.values[name]
}
