package manifest

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// noChart is the chart of values in an object whose chart is not in the repository.
const noChart = "\x00"

// mayHoldTag reports, without parsing, whether content can be Helm values that hold a tag or a digest whose repository
// stands in the chart's own values.
func mayHoldTag(content []byte) bool {
	lower := bytes.ToLower(content)
	if !bytes.Contains(lower, []byte("tag")) && !bytes.Contains(lower, []byte("digest")) && !bytes.Contains(lower, []byte("sha")) {
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
	}
	return nil
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
