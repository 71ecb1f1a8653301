package edit

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// EntryNames returns the names in a kustomization's images: of the entries that are meant.
func EntryNames(root *yaml.Node, w Wanted) []string {
	var names []string
	if list := deref(at(root, "images")); list != nil {
		for _, item := range list.Content {
			if e := (&entry{deref(item)}); !e.suffixOnly() && slices.ContainsFunc(e.names(), w.Matches) {
				names = append(names, e.field("name"))
			}
		}
	}
	return names
}

// Renamed applies the names of a kustomization's images: to what comes out of its resources.
func Renamed(root *yaml.Node, images []string) []string {
	list := deref(at(root, "images"))
	if list == nil {
		return images
	}
	images = slices.Clone(images)
	for _, item := range list.Content {
		e := &entry{deref(item)}
		if to := e.image().Repository; e.field("newName") != "" {
			for i := range images {
				if images[i] == e.field("name") {
					images[i] = to
				}
			}
		}
	}
	return images
}

// LockedPatchImages returns the repositories in the patches that stand in the kustomization as text, as far as they cannot
// be edited there.
func LockedPatchImages(root *yaml.Node) []string {
	var images []string
	for _, key := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
		list := deref(at(root, key))
		if list == nil {
			continue
		}
		for _, item := range list.Content {
			patch := at(item, "patch")
			if item.Kind == yaml.ScalarNode {
				patch = item
			}
			if patch = deref(patch); patch == nil || patch.Style&yaml.LiteralStyle != 0 {
				continue
			}
			s, err := parse("patch.yaml", []byte(text(patch)))
			if err != nil {
				continue // kustomize will say so; no image is lost by it
			}
			for _, doc := range s.docs {
				f := newFinder(nil)
				f.findText(doc, false)
				for _, site := range f.sites {
					images = append(images, site.image().Repository)
				}
			}
		}
	}
	return images
}
