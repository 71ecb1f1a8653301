package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// judgeOutside looks at the kustomizations outside of dir that are made from an edited file: an overlay elsewhere that uses
// the base which was edited. They are not edited. One that the edit would break is an error, and one that still gives another
// version is listed.
func (p *planner) judgeOutside(ctx context.Context) error {
	if p.Build == nil || p.unbounded || p.dir == "." {
		return nil
	}
	names, err := p.outside(ctx)
	if err != nil {
		return err
	}
	unread := p.unread
	defer func() { p.unread = unread }() // what is outside of dir may be as it likes
	reaches, used := map[string]map[string]bool{}, map[string]bool{}
	for _, name := range names {
		reach := map[string]bool{}
		p.reach(name, reach)
		reaches[name] = reach
		for other := range reach {
			used[other] = used[other] || other != name
		}
	}
	for _, name := range names {
		changed := false
		for file := range reaches[name] {
			r := p.results[file]
			changed = changed || r != nil && len(r.Changes) > 0
		}
		if k := p.load(name); !changed || used[name] || k.err != nil || k.component() {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.judgeOne(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// outside returns the kustomizations outside of dir that may use what is in it: they stand above it, or name a path that
// goes up. Hidden directories are left out.
func (p *planner) outside(ctx context.Context) ([]string, error) {
	var names []string
	err := fs.WalkDir(p.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || d.IsDir() && name != "." && (p.inside(name) || strings.HasPrefix(path.Base(name), ".")):
			return fs.SkipDir // what cannot be read is not a reason against the edit
		case !d.Type().IsRegular() || !edit.IsKustomization(name) || p.inside(name):
			return nil
		}
		above := path.Dir(name) == "." || strings.HasPrefix(p.dir, path.Dir(name)+"/")
		var content bytes.Buffer
		if p.read(name, &content) == nil && (above || bytes.Contains(content.Bytes(), []byte("../"))) {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// judgeOne renders a kustomization outside of dir.
func (p *planner) judgeOne(ctx context.Context, name string) error {
	dir := path.Dir(name)
	out, err := p.Build(ctx, p.overlay(), dir)
	if err != nil {
		if _, before := p.Build(ctx, p.fsys, dir); before == nil {
			return fmt.Errorf("the edit would break the kustomization %s, which uses an edited file: %w", p.shown(dir), err)
		}
		return nil // it is broken already, or needs something remote
	}
	v, err := p.inspect(p.shown(name), out)
	if err != nil {
		return err
	}
	if len(v.wrong) > 0 {
		p.edit.Unverified = append(p.edit.Unverified, Unverified{p.shown(name),
			fmt.Sprintf("it uses an edited file, is outside of the path that is bumped, and gives %s: bump it, too, if that is not meant", strings.Join(v.where, ", "))})
	}
	return nil
}

// fromOutside returns the references to the image in files outside of dir from which a kustomization there gets it, when
// kustomize's output is all that is known of it.
func (p *planner) fromOutside() []Seen {
	if !slices.ContainsFunc(p.edit.Remaining, func(r Remaining) bool { return r.Line == 0 }) {
		return nil
	}
	var out []Seen
	seen := map[string]bool{}
	for _, env := range p.environments {
		for _, name := range slices.Sorted(maps.Keys(env.reach)) {
			if p.inside(name) || seen[name] || !edit.IsManifest(name) {
				continue
			}
			seen[name] = true
			u, err := edit.Read(name, p.shown(name), p.now(name), edit.Reading{Traces: p.traces})
			if err != nil {
				continue // kustomize would not have built it
			}
			for _, r := range u.References(p.want) {
				if r.Meant {
					out = append(out, Seen{File: p.shown(name), Line: r.Line, Image: r.Image.String()})
				}
			}
		}
	}
	return out
}
