package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
)

// Image is an image to put into rendered objects.
type Image struct {
	// Ref is the whole new reference: HOST/REPO@sha256:… or HOST/REPO:TAG@sha256:….
	Ref string
	// Replace is the repository that stands in the manifests when it is not Ref's: "vote", "example.com/vote". Empty:
	// an entry matches when its repository path, without the registry's host, equals Ref's.
	Replace string
}

// ImageChange is one image reference that SetImages saw or set.
type ImageChange struct {
	Object   string // "Deployment/vote"
	Name     string // of the container or the volume
	From, To string // equal when it was right already
}

// SetImages puts images into the pod templates of objects, of any kind: into containers, and into volumes that are
// images. It returns the places that matched. An image that matched nothing is an error that lists the
// images that were seen, for a deploy that leaves the old image in place must not look like one that worked.
func SetImages(objects []*unstructured.Unstructured, images []Image) ([]ImageChange, error) {
	var changes []ImageChange
	for _, image := range images {
		want, err := ref.Parse(image.Ref)
		if err != nil {
			return nil, err
		}
		_, path := want.Canonical()
		target := ref.Ref{Repository: path}
		if image.Replace != "" {
			target = ref.Read(image.Replace)
		}
		var matched []ImageChange
		var seen, without []string
		for _, object := range objects {
			at := object.GetKind() + "/" + object.GetName()
			manifest.Images(object.Object, func(i manifest.Image) {
				from := i.Ref()
				if from == "" {
					without = append(without, i.Name+" in "+at)
					return
				}
				seen = append(seen, from)
				if !matches(ref.Read(from), target) {
					return
				}
				i.Set(image.Ref)
				matched = append(matched, ImageChange{Object: at, Name: i.Name, From: from, To: image.Ref})
			})
		}
		if len(matched) == 0 {
			return nil, noMatch(target.Repository, seen, without)
		}
		changes = append(changes, matched...)
	}
	return changes, nil
}

// noMatch is the error for a repository that no container runs. Seen are the images of containers, and without the
// containers that have none.
func noMatch(target string, seen, without []string) error {
	none := ""
	if len(without) > 0 {
		none = fmt.Sprintf("there is no image in the container %s: write one, in quotes if it has a # in it, which begins a comment", strings.Join(without, ", "))
	}
	if len(seen) == 0 {
		return errors.New(cmp.Or(none, "no object runs a container, so there is no image to set"))
	}
	if none != "" {
		none = "; " + none
	}
	slices.Sort(seen)
	return fmt.Errorf("no container runs %s; the images there are: %s. Name the one to replace with --replace%s",
		target, strings.Join(slices.Compact(seen), ", "), none)
}

// matches reports whether an entry names the target's repository. A target without a registry's host matches on any
// registry.
func matches(entry, target ref.Ref) bool {
	if target.Host() != "" {
		return entry.SameRepository(target)
	}
	// Without a host it may be Docker Hub's, where library/NAME is NAME, or the path on another registry, where it is not.
	_, path := entry.Canonical()
	_, want := target.Canonical()
	return path == want || path == target.Repository
}
