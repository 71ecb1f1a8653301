package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// ChartRelease is a Helm chart in the file system with the values that it is rendered with.
type ChartRelease struct {
	Dir    string
	Values [][]byte // YAML; later ones win
	Set    []string // KEY=VALUE as for `helm --set-string`; they win over Values

	shown string              // what makes the release, for messages
	files map[string]struct{} // what the release is made of, beside the chart

	set string // the ApplicationSet that makes it, for messages; "" for none
}

// judgeCharts renders each chart whose values are edited, with those values, as its users do: Argo CD's Applications and
// Flux's HelmReleases where there are some, else each values file by itself. The image must come out.
func (p *planner) judgeCharts(ctx context.Context) error {
	if p.Chart == nil {
		return nil
	}
	for i, r := range p.releases() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.judgeChart(ctx, r, i); err != nil {
			return err
		}
	}
	p.checkSets()
	return nil
}

// edited reports whether a file is edited, or holds the image already.
func (p *planner) edited(name string) bool {
	r := p.results[name]
	return r != nil && r.Matched > 0
}

// releases returns what is rendered: every release with an edited part.
func (p *planner) releases() []*ChartRelease {
	var found []*ChartRelease
	used := map[string]bool{}
	names := slices.Clone(p.naming)
	for _, h := range p.held {
		if p.edited(h.path) && !slices.Contains(names, h.path) {
			names = append(names, h.path)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		docs, err := edit.Documents(name, p.now(name))
		if err != nil {
			continue
		}
		for _, doc := range docs {
			for _, root := range doc.Content {
				found = append(found, p.releasesOf(name, root)...)
			}
		}
	}
	for _, r := range found {
		for file := range r.files {
			used[file] = true
		}
	}
	found = slices.DeleteFunc(found, func(r *ChartRelease) bool {
		of := p.edited(path.Join(r.Dir, "values.yaml"))
		for file := range r.files {
			of = of || p.edited(file)
		}
		return !of
	})
	var defaults []*ChartRelease
	for _, h := range p.held {
		dir := p.chartAbove(h.path)
		if dir == "" || used[h.path] || !p.edited(h.path) || p.valuesIn(h.path) == nil || p.reached(h.path) {
			continue
		}
		r := &ChartRelease{Dir: dir, shown: p.shown(h.path), files: map[string]struct{}{h.path: {}}}
		if h.path == path.Join(dir, "values.yaml") {
			defaults = append(defaults, r)
			continue
		}
		r.Values = [][]byte{p.now(h.path)}
		found = append(found, r)
	}
	// A chart's own values alone are what runs only where nothing is laid over them.
	for _, r := range defaults {
		if !slices.ContainsFunc(found, func(other *ChartRelease) bool { return other.Dir == r.Dir }) {
			found = append(found, r)
		}
	}
	return found
}

// releasesIn appends the releases that a mapping, or one in it, describes:
//
//	source: {path: charts/web, helm: {valueFiles: [prod.yaml], values: "…", valuesObject: {…}, parameters: [{name: a.b, value: c}]}}
//	spec: {chart: {spec: {chart: ./charts/web, valuesFiles: [charts/web/prod.yaml]}}, values: {…}}
func (p *planner) releasesIn(found []*ChartRelease, file string, n *yaml.Node) []*ChartRelease {
	for _, child := range n.Content {
		found = p.releasesIn(found, file, child)
	}
	helm, spec := edit.At(n, "helm"), edit.At(n, "chart", "spec")
	r := &ChartRelease{shown: p.shown(file), files: map[string]struct{}{file: {}}}
	base := ""
	switch {
	case helm != nil && edit.At(n, "path") != nil:
		r.Dir = strings.TrimPrefix(path.Clean("/"+edit.Text(edit.At(n, "path"))), "/")
		base = r.Dir
		p.addFiles(r, base, edit.At(helm, "valueFiles"))
		if text := edit.Text(edit.At(helm, "values")); text != "" {
			r.Values = append(r.Values, []byte(text))
		}
		r.addObject(edit.At(helm, "valuesObject"))
		for _, parameter := range contentOf(edit.At(helm, "parameters")) {
			r.Set = append(r.Set, edit.Text(edit.At(parameter, "name"))+"="+edit.Text(edit.At(parameter, "value")))
		}
	case spec != nil:
		r.Dir = edit.ChartPath(edit.Text(edit.At(spec, "chart")))
		p.addFiles(r, "", edit.At(spec, "valuesFiles"))
		r.addObject(edit.At(n, "values"))
	}
	if r.Dir == "" || !p.isChart(r.Dir) {
		return found
	}
	return append(found, r)
}

func contentOf(n *yaml.Node) []*yaml.Node {
	if n = edit.Deref(n); n == nil {
		return nil
	}
	return n.Content
}

// addFiles adds values files that are in the file system. One of another source, $REF/PATH, is taken as one of this
// repository.
func (p *planner) addFiles(r *ChartRelease, base string, list *yaml.Node) {
	for _, item := range contentOf(list) {
		name := edit.Text(item)
		switch {
		case strings.HasPrefix(name, "$"):
			_, name, _ = strings.Cut(name, "/")
		case strings.HasPrefix(name, "/"):
			name = strings.TrimPrefix(name, "/")
		default:
			name = path.Join(base, name)
		}
		if content := p.now(path.Clean(name)); content != nil {
			r.Values = append(r.Values, content)
			r.files[path.Clean(name)] = struct{}{}
		}
	}
}

func (r *ChartRelease) addObject(n *yaml.Node) {
	if n = edit.Deref(n); n == nil || n.Kind != yaml.MappingNode {
		return
	}
	if text, err := yaml.Marshal(n); err == nil {
		r.Values = append(r.Values, text)
	}
}

// now returns a file's content with the edits made, unless unedited is set; nil when there is no such file.
func (p *planner) now(name string) []byte {
	if r := p.results[name]; r != nil && len(r.Changes) > 0 && !p.unedited {
		return r.Content
	}
	var content bytes.Buffer
	if !fs.ValidPath(name) || p.read(name, &content) != nil {
		return nil
	}
	return content.Bytes()
}

func (p *planner) isChart(dir string) bool {
	info, err := fs.Stat(p.fsys, path.Join(dir, "Chart.yaml"))
	return err == nil && info.Mode().IsRegular()
}

// chartAbove returns the chart that a file is in, "" when it is in none.
func (p *planner) chartAbove(file string) string {
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		if p.isChart(dir) {
			return dir
		}
		if dir == "." {
			return ""
		}
	}
}

// renderedBefore reports whether the release with an index could be rendered before the edit.
func (p *planner) renderedBefore(ctx context.Context, index int) bool {
	unverified := p.edit.Unverified
	p.unedited = true
	releases := p.releases()
	p.unedited, p.edit.Unverified = false, unverified
	if index >= len(releases) {
		return false
	}
	_, err := p.Chart(ctx, p.fsys, *releases[index])
	return err == nil
}

// judgeChart renders one release, which has an index among all of them.
func (p *planner) judgeChart(ctx context.Context, r *ChartRelease, index int) error {
	out, err := p.Chart(ctx, p.overlay(), *r)
	if err != nil {
		reason := strings.Join(strings.Fields(err.Error()), " ")
		if p.renderedBefore(ctx, index) {
			return fmt.Errorf("%s: the edit would break %s: %s; nothing was changed: if a template reads the tag and cannot take a digest behind it, give the chart a key of its own for the digest, such as `digest: \"\"` beside the tag, or name its keys under gitops.images in aksflow.yaml",
				r.shown, p.chartName(r), reason)
		}
		p.edit.Unverified = append(p.edit.Unverified, Unverified{r.shown, p.chartName(r) + " cannot be rendered: " + reason})
		return nil
	}
	v, err := p.inspect(r.shown, out)
	if err != nil {
		return err
	}
	if p.sets == nil {
		p.sets = map[string]bool{}
	}
	p.sets[r.set] = p.sets[r.set] || v.right > 0
	if key := labelWithDigest(out); key != "" {
		return fmt.Errorf("%s: %s would use %s as the label %s, which may not hold a digest; nothing was changed: give the chart a key of its own for the digest, such as `digest: \"\"` beside the tag, or name its keys under gitops.images in aksflow.yaml",
			r.shown, p.chartName(r), p.want.Image(), key)
	}
	switch {
	case v.right == 0 && len(v.wrong) > 0:
		return fmt.Errorf("%s: %s would still give %s; nothing was changed: name the keys that set the image under gitops.images in aksflow.yaml",
			r.shown, p.chartName(r), v.where[0])
	case len(v.wrong) > 0:
		p.edit.Unverified = append(p.edit.Unverified, Unverified{r.shown, p.chartName(r) + " also gives " + strings.Join(v.where, ", ")})
	case v.right == 0 && r.set == "": // one of those that an ApplicationSet makes is enough
		p.edit.Unverified = append(p.edit.Unverified, Unverified{r.shown, p.chartName(r) + " does not give the image: no template uses it with these values"})
	}
	return nil
}

// chartName names a release's chart for messages.
func (p *planner) chartName(r *ChartRelease) string {
	if dir := path.Dir(p.shown(path.Join(r.Dir, "Chart.yaml"))); dir != "." {
		return "the chart " + dir
	}
	return "its chart"
}

// labelWithDigest returns the first label of a YAML stream whose value holds a digest, or "".
func labelWithDigest(stream []byte) string {
	docs, err := edit.Documents("rendered.yaml", stream)
	if err != nil {
		return ""
	}
	var find func(n *yaml.Node) string
	find = func(n *yaml.Node) string {
		if labels := edit.At(n, "labels"); labels != nil && labels.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(labels.Content); i += 2 {
				if strings.Contains(labels.Content[i+1].Value, "@sha256:") {
					return labels.Content[i].Value
				}
			}
		}
		for _, child := range n.Content {
			if key := find(child); key != "" {
				return key
			}
		}
		return ""
	}
	for _, doc := range docs {
		if key := find(doc); key != "" {
			return key
		}
	}
	return ""
}
