package manifest

import (
	"fmt"
	"strings"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// parseTarget validates the reference that is to be set.
func parseTarget(s string) (ref.Ref, error) {
	r, err := ref.Parse(s)
	if err == nil && r.Tag == "" && r.Digest == "" {
		err = fmt.Errorf("image reference %q has neither tag nor digest: give REPOSITORY@sha256:… as publish prints it", s)
	}
	return r, err
}

// wanted is a Target made ready for matching.
type wanted struct {
	image    ref.Ref
	names    []ref.Ref       // repositories that stand for the image; those without host match on any registry
	policies map[string]bool // Flux image policies, NAMESPACE:NAME
}

func (t Target) wanted() (wanted, error) {
	image, err := parseTarget(t.Image)
	if err != nil {
		return wanted{}, err
	}
	_, own := image.Canonical()
	w := wanted{image: image, names: []ref.Ref{{Repository: own}}, policies: map[string]bool{}}
	for _, name := range t.Replace {
		r := ref.Read(name)
		if r.Repository == "" {
			return wanted{}, fmt.Errorf("replace %q: want the name of a repository", name)
		}
		if r.Host() == "" && r.Tag != "" && r.Digest == "" {
			w.policies[name] = true // flux-system:vote, by its form also the repository flux-system with the tag vote
		}
		w.names = append(w.names, ref.Ref{Repository: r.Repository})
	}
	return w, nil
}

// matches tells whether a repository as it stands in a manifest is one of those meant.
func (w wanted) matches(repository string) bool {
	if repository == "" {
		return false
	}
	host, path := ref.Ref{Repository: repository}.Canonical()
	for _, name := range w.names {
		if name.Host() != "" {
			if h, p := name.Canonical(); h == host && p == path {
				return true
			}
			continue
		}
		if path == strings.TrimPrefix(name.Repository, "library/") {
			return true
		}
	}
	return false
}

// traces are byte strings of which a file that the target touches holds at least one.
func (w wanted) traces() [][]byte {
	var out [][]byte
	for _, name := range w.names {
		_, path := name.Canonical()
		out = append(out, []byte(path[strings.LastIndexByte(path, '/')+1:]))
	}
	for policy := range w.policies {
		out = append(out, []byte(policy))
	}
	return out
}
