package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/manifest/appset"
	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// expanded returns the Applications that a document is or that the generators of an ApplicationSet make.
func expanded(document *yaml.Node, repository fs.FS) ([]*yaml.Node, error) {
	if !appset.Is(document) {
		return []*yaml.Node{document}, nil
	}
	return appset.Expand(document, repository)
}

// releasesOf returns the releases of charts that a document describes.
func (p *planner) releasesOf(file string, document *yaml.Node) (found []*ChartRelease) {
	applications, err := expanded(document, p.overlay())
	if err != nil {
		if p.mayMake(document) {
			p.edit.Unverified = append(p.edit.Unverified, Unverified{
				fmt.Sprintf("%s:%d", p.shown(file), document.Line), "the ApplicationSet's Applications are not known: " + err.Error(),
			})
		}
		return p.releasesIn(nil, file, document)
	}
	for _, application := range applications {
		found = p.releasesIn(found, file, application)
	}
	if appset.Is(document) {
		for _, r := range found {
			r.set = p.shown(file)
		}
	}
	return found
}

// mayMake reports whether an ApplicationSet that cannot be expanded may make an Application from an edited file: the paths
// in its template begin like that of one, as far as they are known.
func (p *planner) mayMake(set *yaml.Node) bool {
	source := edit.At(set, "spec", "template", "spec", "source")
	sources := append(slices.Clone(contentOf(edit.At(set, "spec", "template", "spec", "sources"))), source)
	return slices.ContainsFunc(sources, func(source *yaml.Node) bool {
		known, _, templated := strings.Cut(edit.Text(edit.At(source, "path")), "{{")
		known = strings.TrimPrefix(known, "./")
		return templated && slices.ContainsFunc(p.held, func(h held) bool { return p.edited(h.path) && strings.HasPrefix(h.path, known) })
	})
}

// checkSets lists the ApplicationSets of which no chart that was rendered gives the image.
func (p *planner) checkSets() {
	for _, set := range slices.Sorted(maps.Keys(p.sets)) {
		if set != "" && !p.sets[set] {
			p.edit.Unverified = append(p.edit.Unverified, Unverified{set, "no chart of the ApplicationSet's Applications gives the image: no template uses it with their values"})
		}
	}
}
