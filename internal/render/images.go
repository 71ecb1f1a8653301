package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	Object    string // "Deployment/vote"
	Container string
	From, To  string // equal when it was right already
}

// SetImages puts images into the pod templates of objects, of any kind: whatever holds containers, initContainers or
// ephemeralContainers. It returns the places that matched. An image that matched nothing is an error that lists the
// images that were seen, for a deploy that leaves the old image in place must not look like one that worked.
func SetImages(objects []*unstructured.Unstructured, images []Image) ([]ImageChange, error) {
	var changes []ImageChange
	for _, image := range images {
		want, err := name.ParseReference(image.Ref)
		if err != nil {
			return nil, fmt.Errorf("the image %q: %w", image.Ref, err)
		}
		target := image.Replace
		if target == "" {
			target = want.Context().RepositoryStr()
		}
		var matched []ImageChange
		var seen []string
		for _, object := range objects {
			manifest.Containers(object.Object, func(_ string, container map[string]any) {
				from, _ := container["image"].(string)
				if from == "" {
					return
				}
				seen = append(seen, from)
				if !matches(from, target, image.Replace != "") {
					return
				}
				container["image"] = image.Ref
				containerName, _ := container["name"].(string)
				matched = append(matched, ImageChange{
					Object:    object.GetKind() + "/" + object.GetName(),
					Container: containerName, From: from, To: image.Ref,
				})
			})
		}
		if len(matched) == 0 {
			return nil, noMatch(image, target, seen)
		}
		changes = append(changes, matched...)
	}
	return changes, nil
}

func noMatch(image Image, target string, seen []string) error {
	if len(seen) == 0 {
		return errors.New("no object runs a container, so there is no image to set")
	}
	slices.Sort(seen)
	return fmt.Errorf("no container runs %s; the images there are: %s. Name the one to replace with --replace",
		target, strings.Join(slices.Compact(seen), ", "))
}

// matches compares repositories. A name that the user gave may leave out the registry's host, but if it has one the
// host counts.
func matches(ref, target string, given bool) bool {
	entry, err := name.ParseReference(ref)
	if err != nil {
		return false
	}
	path := strings.TrimPrefix(entry.Context().RepositoryStr(), "library/")
	if path == strings.TrimPrefix(target, "library/") {
		return true
	}
	if !given {
		return false
	}
	repository, err := name.NewRepository(target)
	return err == nil && repository.Name() == entry.Context().Name()
}
