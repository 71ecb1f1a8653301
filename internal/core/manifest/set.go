package manifest

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Set sets every reference in content that target names. Name is the file's: its base tells a kustomization, Helm
// values and .argocd-source files apart. Matching nothing is no error here.
func Set(name string, content []byte, target Target) (*Result, error) {
	w, err := target.wanted()
	if err != nil {
		return nil, fault.Usage(err)
	}
	return set(name, name, content, w, nil, nil)
}

// set is Set for a target made ready, with another name for messages and changes. Governed are repositories that a kustomization's images: sets for this file:
// where they stand, they stay. Pins are repositories to add to this kustomization's images:.
func set(name, shown string, content []byte, w wanted, governed map[string]bool, pins []string) (*Result, error) {
	s, err := parse(shown, content)
	if err != nil {
		return nil, err
	}
	result := &Result{Content: content}
	type planned struct {
		site site
		ops  []op
		from ref.Ref
		at   int
	}
	var plan []planned
	targeted := map[*yaml.Node]bool{}
	for _, doc := range s.docs {
		f := find(name, doc)
		meant := f.meant(w)
		for _, site := range f.sites {
			result.Seen = append(result.Seen, Seen{shown, site.nodes()[0].Line, site.image().String(), slices.Contains(meant, site)})
		}
		for _, site := range meant {
			result.Matched++
			if _, isWhole := site.(whole); isWhole && governed[site.image().Repository] {
				continue
			}
			ops, err := site.set(w.image)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", shown, site.nodes()[0].Line, err)
			}
			for _, o := range ops {
				if o.node != nil {
					targeted[o.node] = true
				}
			}
			plan = append(plan, planned{site: site, ops: ops, from: site.image()})
		}
	}

	e := newEditor(s)
	var changes []planned
	for _, p := range plan {
		n := deref(p.site.nodes()[0])
		if p.at, err = s.offset(n.Line, n.Column); err != nil {
			return nil, err
		}
		changed, err := e.apply(p.ops, targeted)
		if err != nil {
			return nil, err
		}
		if changed > 0 {
			changes = append(changes, p)
		}
	}
	var entries []entryFields
	for _, pin := range pins {
		entries = append(entries, pinFields(pin, w.image))
		result.Matched++
	}
	if err := e.addEntries(entries); err != nil {
		return nil, err
	}
	if len(e.splices) == 0 {
		return result, nil
	}
	if result.Content, err = e.finish(); err != nil {
		return nil, err
	}
	after := &source{name: shown, content: result.Content}
	for _, p := range changes {
		result.Changes = append(result.Changes, Change{
			File: shown, Line: after.lineAt(e.moved(p.at)), From: p.from.String(), To: w.image.String(),
		})
	}
	for _, pin := range pins {
		result.Changes = append(result.Changes, Change{File: shown, Line: after.lineOfPin(pin), From: "", To: w.image.String()})
	}
	return result, nil
}

// pinFields is the entry of a kustomization's images: that makes a base's image the one wanted.
func pinFields(repository string, image ref.Ref) entryFields {
	fields := entryFields{{"name", repository}}
	if image.Repository != repository {
		fields = append(fields, [2]string{"newName", image.Repository})
	}
	if image.Tag != "" {
		fields = append(fields, [2]string{"newTag", image.Tag})
	}
	if image.Digest != "" {
		fields = append(fields, [2]string{"digest", image.Digest})
	}
	return fields
}

// lineOfPin finds the entry that was added for a repository.
func (s *source) lineOfPin(repository string) int {
	parsed, err := parse(s.name, s.content)
	if err != nil {
		return 0
	}
	for _, item := range at(parsed.docs[0].Content[0], "images").Content {
		if text(at(item, "name")) == repository {
			return item.Line
		}
	}
	return 0
}

// isManifest tells whether a file's name is that of something with images in it.
func isManifest(name string) bool {
	base := path.Base(name)
	switch strings.ToLower(path.Ext(base)) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(base, ".") || strings.HasPrefix(base, ".argocd-source")
	}
	return base == "Kustomization"
}

// mayHold tells, without parsing, whether content can hold one of the traces.
func mayHold(content []byte, traces [][]byte) bool {
	for _, trace := range traces {
		if bytes.Contains(content, trace) {
			return true
		}
	}
	return false
}
