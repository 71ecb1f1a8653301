package manifest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
	"github.com/aksflow/aksflow/internal/core/report"
)

// finish plans the edit of all files.
func (p *planner) finish(ctx context.Context) (*Edit, error) {
	p.results, p.pins, p.edit = map[string]*Result{}, map[string][]string{}, &Edit{}
	if err := p.findEnvironments(); err != nil {
		return nil, err
	}
	p.govern()
	for _, h := range slices.Clone(p.held) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := p.apply(h); err != nil {
			return nil, err
		}
	}
	if err := p.judge(ctx); err != nil {
		return nil, err
	}
	if err := p.judgeCharts(ctx); err != nil {
		return nil, err
	}
	if err := p.judgeOutside(ctx); err != nil {
		return nil, err
	}
	inTemplates, err := p.inTemplates(ctx)
	if err != nil {
		return nil, err
	}
	p.edit.Remaining = append(p.edit.Remaining, inTemplates...)
	p.collectResults()
	p.checkLoose()
	slices.SortFunc(p.unread, func(a, b Unverified) int { return cmp.Compare(a.File, b.File) })
	if p.edit.Matched == 0 && !p.given {
		return nil, p.noMatch(ctx, len(inTemplates) == len(p.edit.Remaining))
	}
	p.edit.Unverified = append(p.edit.Unverified, p.unread...)
	if err := p.checkBroken(ctx); err != nil {
		return nil, err
	}
	if err := p.checkStrict(inTemplates); err != nil {
		return nil, err
	}
	return p.edit, nil
}

// checkStrict returns the error of Options.Strict: something cannot be verified, or a chart's template names the image.
func (p *planner) checkStrict(inTemplates []Remaining) error {
	if !p.Strict {
		return nil
	}
	against := slices.Clone(p.edit.Unverified)
	for _, r := range inTemplates {
		against = append(against, Unverified{r.Where(), "a chart's template names the image and is not edited: " + r.Text})
	}
	if len(against) == 0 {
		return nil
	}
	return fmt.Errorf("nothing was changed, since not everything can be verified: %s",
		list(against, func(u Unverified) string { return u.File + ": " + u.Reason }))
}

// Warn reports what names the image and was not set, and what could not be verified. It returns e, which may be nil.
func (e *Edit) Warn(ctx context.Context) *Edit {
	if e == nil {
		return nil
	}
	for _, r := range e.Remaining {
		report.Warn(ctx, "%s: %s names the image and is left as it is: %s", r.Where(), r.Key, r.Text)
	}
	for _, u := range e.Unverified {
		report.Warn(ctx, "%s is not verified: %s", u.File, u.Reason)
	}
	return e
}

// apply edits one file as far as it is known what governs it.
func (p *planner) apply(h held) error {
	if edit.IsSettings(h.path) && !p.reached(h.path) {
		p.results[h.path] = &Result{Content: h.content, Remaining: p.want.InSettings(p.shown(h.path), h.content)}
		return nil
	}
	r, err := edit.Apply(h.path, p.shown(h.path), h.content, p.want, edit.Setting{
		Governed: p.governed[h.path], Pins: p.pins[h.path], Keys: p.keys[h.path], Below: p.layersOf(h.path),
	})
	if err != nil && p.broken(h) {
		return nil
	}
	p.results[h.path] = r
	return err
}

// reached reports whether one of the roots is made from a file.
func (p *planner) reached(name string) bool {
	return slices.ContainsFunc(p.environments, func(r *root) bool { return r.reach[name] })
}

// broken reports whether a file is not valid YAML and does not hold the image either. Its name may be part of other words
// in it.
func (p *planner) broken(h held) bool {
	if _, err := edit.Documents(h.path, h.content); err == nil {
		return false
	}
	return !p.want.InText(h.content)
}

// pin adds entries to a kustomization's images:, and edits it again.
func (p *planner) pin(kustomization string, repositories []string) error {
	if len(repositories) == 0 {
		return nil
	}
	p.pins[kustomization] = append(p.pins[kustomization], repositories...)
	if err := p.hold(kustomization); err != nil {
		return err
	}
	i := slices.IndexFunc(p.held, func(h held) bool { return h.path == kustomization })
	return p.apply(p.held[i])
}

// collectResults puts the files' results together.
func (p *planner) collectResults() {
	slices.SortFunc(p.held, func(a, b held) int { return cmp.Compare(a.path, b.path) })
	for _, h := range p.held {
		r := p.results[h.path]
		if r == nil {
			continue
		}
		p.edit.Matched += r.Matched
		p.edit.Changes = append(p.edit.Changes, r.Changes...)
		p.edit.Remaining = append(p.edit.Remaining, r.Remaining...)
		if len(r.Changes) > 0 {
			p.edit.Files = append(p.edit.Files, File{h.path, r.Content})
		}
	}
	slices.SortStableFunc(p.edit.Remaining, func(a, b Remaining) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	p.edit.Remaining = slices.Compact(p.edit.Remaining)
}

// checkBroken looks at what does not parse: a kustomization that governs an edited file stops the edit; other files
// beside edited ones are listed, since an operator that cannot read one file of a directory may apply none of it.
func (p *planner) checkBroken(ctx context.Context) error {
	dirs := map[string]bool{}
	for _, f := range p.edit.Files {
		dirs[path.Dir(f.Path)] = true
	}
	for _, name := range p.kustomizations {
		k := p.graph[name]
		if k == nil || k.err == nil {
			continue
		}
		for _, f := range p.edit.Files {
			if k.mayUse(f.Path) {
				return fmt.Errorf("%w: it governs %s", k.err, p.shown(f.Path))
			}
		}
	}
	var neighbours []string
	for _, name := range p.own {
		if dirs[path.Dir(name)] && p.results[name] == nil {
			neighbours = append(neighbours, name)
		}
	}
	var found []Unverified
	err := p.each(ctx, neighbours, func(name string, content []byte) error {
		if _, err := edit.Documents(p.shown(name), content); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			found = append(found, Unverified{p.shown(name), "beside an edited file: " + err.Error()})
		}
		return nil
	})
	slices.SortFunc(found, func(a, b Unverified) int { return cmp.Compare(a.File, b.File) })
	p.edit.Unverified = append(p.edit.Unverified, found...)
	return err
}

// noMatch reads everything again to say what is there. Templates says that all that remains stands in templates of charts.
func (p *planner) noMatch(ctx context.Context, templates bool) error {
	for name, to := range p.links {
		var content bytes.Buffer
		if err := p.read(to, &content); err != nil {
			continue
		}
		if r, err := edit.Apply(to, p.shown(to), content.Bytes(), p.want, edit.Setting{}); err == nil && r.Matched > 0 {
			return fmt.Errorf("the image stands in %s, to which %s is a link: bump %s", p.shown(to), p.shown(name), p.shown(path.Dir(to)))
		}
	}
	e := &NoMatchError{Path: p.shown(p.dir), Names: p.want.Looked(), Remaining: p.edit.Remaining, Unread: p.unread, templates: templates, outside: p.fromOutside()}
	err := p.each(ctx, p.own, func(name string, content []byte) error {
		u, err := edit.Read(name, p.shown(name), content, edit.Reading{Traces: p.traces})
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case err != nil: // the image is not in it by this name
			e.Skipped = append(e.Skipped, err.Error()) // it names the file
			return nil
		case u.Foreign() && edit.MayHold(content, p.traces):
			e.Skipped = append(e.Skipped, p.shown(name)+" (another tool's file, no manifest)")
		}
		for _, r := range u.References(p.want) {
			if r.Image.Repository != "" {
				e.Seen = append(e.Seen, Seen{File: p.shown(name), Line: r.Line, Image: r.Image.String()})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, env := range p.environments {
		images, err := p.images(env.name, nil)
		if err != nil {
			return err
		}
		for _, image := range images {
			e.Seen = append(e.Seen, Seen{File: p.shown(env.name), Line: 1, Image: image})
		}
	}
	slices.SortFunc(e.Seen, func(a, b Seen) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	slices.Sort(e.Skipped)
	return e
}
