package manifest

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// noChart is the chart of values in an object whose chart is not in the repository.
const noChart = "\x00"

// tagEndings are the ends of the keys of tags and digests, in the ways of writing them.
var tagEndings = [][]byte{[]byte("tag"), []byte("Tag"), []byte("TAG"), []byte("igest"), []byte("sha"), []byte("Sha")}

// mayHoldTag reports, without parsing, whether content can be Helm values that hold a tag or a digest whose repository
// stands in the chart's own values.
func mayHoldTag(content []byte) bool {
	if !mayHold(content, tagEndings) {
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
		meant := false
		u.each(func(u *unit, f *finder, s site) { meant = meant || f.meant(p.want)[s] })
		if meant {
			p.held = append(p.held, h)
		}
		for _, f := range u.finders {
			for _, k := range f.loose {
				n := k.nodes()[0]
				p.loose = append(p.loose, looseTag{name, u.position(n), strings.ReplaceAll(k.path, "\x00", ".") + "." + keyOf(k.mapping, n), k.path, k.prefix})
			}
		}
	}
	return nil
}

// looseTag is a tag or a digest in values of which it is not known what chart they are for.
type looseTag struct {
	file         string
	line         int
	key          string
	path, prefix string
}

// checkLoose lists the loose tags that stand where an image that was set has its own: they may be laid over it.
func (p *planner) checkLoose() {
	for _, l := range p.loose {
		for _, h := range p.held {
			r := p.results[h.path]
			f := p.valuesIn(h.path)
			if r == nil || r.Matched == 0 || f == nil {
				continue
			}
			if k := f.keysAt(l.path, l.prefix); k != nil && p.want.matches(k.composed()) {
				p.edit.Unverified = append(p.edit.Unverified, Unverified{fmt.Sprintf("%s:%d", p.shown(l.file), l.line),
					fmt.Sprintf("%s may be laid over that of %s, and is left as it is: name its keys under gitops.images in aksflow.yaml if so", strings.TrimPrefix(l.key, "."), p.shown(h.path))})
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
		s, err := parse(name, content.Bytes())
		if err != nil {
			continue // what does not parse is judged later
		}
		for _, doc := range s.docs {
			for _, root := range doc.Content {
				p.chartsIn(name, root)
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
		list = deref(list)
		if chart == "" || list == nil {
			return
		}
		for _, item := range append(slices.Clone(list.Content), list) {
			values := text(item)
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
	chart := chartPath(text(at(n, "path")))
	note(chart, chart, at(n, "helm", "valueFiles"))
	if spec := at(n, "chart", "spec"); spec != nil { // a HelmRelease: from the root of its source
		note("", chartPath(text(at(spec, "chart"))), at(spec, "valuesFiles"))
	}
	if name := text(at(n, "name")); name != "" && at(n, "valuesFile") != nil { // helmCharts of a kustomization
		dir := path.Dir(file)
		chart := path.Join(dir, "charts", name)
		note(dir, chart, at(n, "valuesFile"))
		note(dir, chart, at(n, "additionalValuesFiles"))
	}
}

// layersOf returns the values that those in a file lie over.
func (p *planner) layersOf(file string) layers { return fileLayers{p, file} }

type fileLayers struct {
	*planner
	file string
}

// keys implements layers. A chart's own values come first, then other files in the same directory, then those of the
// directories above.
func (l fileLayers) keys(chart, at, prefix string) (*keys, bool) {
	for _, name := range l.candidates(chart) {
		if k := l.find(name, at, prefix); k != nil {
			return k, l.edits(name, k)
		}
	}
	// The values of a chart that this chart has in it stand under its name.
	sub, rest, found := strings.Cut(at, "\x00")
	if sub == "" || chart == noChart {
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

// registry implements layers.
func (l fileLayers) registry(chart string) string {
	for _, name := range l.candidates(chart) {
		if f := l.valuesIn(name); f != nil && f.global != "" {
			return f.global
		}
	}
	return ""
}

func (l fileLayers) find(name, at, prefix string) *keys {
	if f := l.valuesIn(name); f != nil {
		return f.keysAt(at, prefix)
	}
	return nil
}

// edits reports whether the reference in a file is one that this run sets.
func (l fileLayers) edits(name string, k *keys) bool {
	return l.inside(name) && slices.Contains(l.own, name) && l.want.matches(k.composed())
}

// candidates returns the files that may hold values below those of the file.
func (l fileLayers) candidates(chart string) []string {
	if chart == noChart {
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
		if path.Dir(h.path) == dir && !isKustomization(h.path) {
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
func (p *planner) valuesIn(name string) *finder {
	if f, known := p.values[name]; known {
		return f
	}
	if p.values == nil {
		p.values = map[string]*finder{}
	}
	p.values[name] = nil
	var content bytes.Buffer
	if p.read(name, &content) != nil {
		return nil
	}
	s, err := parse(name, content.Bytes())
	if err != nil || len(s.docs) == 0 || len(s.docs[0].Content) == 0 || formOf(name, s.docs[0].Content[0]) != values {
		return nil
	}
	f := newFinder(nil)
	f.find(name, s.docs[0])
	f.global = globalRegistry(s.docs[0].Content[0])
	p.values[name] = f
	return f
}
