package edit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Keys name a reference in a shape that is not recognised: the paths of its parts in one file. A path is keys with dots
// between them and the indexes of lists in brackets, counted from 0: web.containers[0].version. A dot or a bracket that
// belongs to a key has a backslash before it.
type Keys struct {
	File string // relative to the directory that is edited
	// Image is the path of a whole reference, REPOSITORY[:TAG][@DIGEST]. It stands alone.
	Image string
	// Registry, Repository, Tag and Digest are the paths of its parts. A tag or a digest must be there.
	Registry, Repository, Tag, Digest string
	// Where is what an error calls the entry: aksflow.yaml:12. May be empty.
	Where string
}

func (k Keys) validate() error {
	where := k.Where
	if where == "" {
		where = "keys of " + k.File
	}
	parts := k.Registry + k.Repository + k.Tag + k.Digest
	switch {
	case k.File == "":
		return fmt.Errorf("%s: the file is missing", where)
	case (k.Image == "") == (parts == ""):
		return fmt.Errorf("%s: want either image, the path of a whole reference, or the paths of its parts", where)
	case k.Image == "" && k.Tag == "" && k.Digest == "":
		return fmt.Errorf("%s: the path of tag or digest is missing", where)
	}
	for _, path := range []string{k.Image, k.Registry, k.Repository, k.Tag, k.Digest} {
		if _, err := parsePath(path); err != nil {
			return fmt.Errorf("%s: path %q: %w", where, path, err)
		}
	}
	return nil
}

// parsePath takes a path apart: strings for keys, ints for indexes.
func parsePath(path string) ([]any, error) {
	var out []any
	var key strings.Builder
	inKey := false
	flush := func() {
		if inKey {
			out = append(out, key.String())
		}
		key.Reset()
		inKey = false
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; c {
		case '\\':
			if i++; i == len(path) {
				return nil, errors.New("nothing behind the backslash")
			}
			key.WriteByte(path[i])
			inKey = true
		case '.':
			flush()
		case '[':
			flush()
			end := strings.IndexByte(path[i:], ']')
			if end < 0 {
				return nil, errors.New("a bracket is not closed")
			}
			index, err := strconv.Atoi(path[i+1 : i+end])
			if err != nil || index < 0 {
				return nil, fmt.Errorf("%q is no index", path[i+1:i+end])
			}
			out = append(out, index)
			i += end
		default:
			key.WriteByte(c)
			inKey = true
		}
	}
	flush()
	return out, nil
}

// follow returns the scalar at a path, nil when there is none.
func follow(doc *yaml.Node, path string) *yaml.Node {
	steps, err := parsePath(path)
	if err != nil || len(steps) == 0 || len(doc.Content) == 0 {
		return nil
	}
	n := doc.Content[0]
	for _, step := range steps {
		n = deref(n)
		switch step := step.(type) {
		case string:
			n = merged(n, step)
		case int:
			if n == nil || n.Kind != yaml.SequenceNode || step >= len(n.Content) {
				return nil
			}
			n = n.Content[step]
		}
		if n == nil {
			return nil
		}
	}
	if !isScalar(n) {
		return nil
	}
	return n
}

// explicitSites finds the references that the user named, by document.
func explicitSites(s *source, all []Keys) (map[*yaml.Node][]site, error) {
	out := map[*yaml.Node][]site{}
	for _, k := range all {
		doc, found, missing := (*yaml.Node)(nil), site(nil), ""
		for _, d := range s.docs {
			if found, missing = k.in(d); found != nil {
				doc = d
				break
			}
		}
		if found == nil {
			where := k.Where
			if where == "" {
				where = "gitops.images"
			}
			return nil, fmt.Errorf("%s: no text at the path %s, which %s names: correct the path, or add the key", s.name, missing, where)
		}
		out[doc] = append(out[doc], found)
	}
	return out, nil
}

// in returns the reference in a document; else nil and the first path that is missing.
func (k Keys) in(doc *yaml.Node) (found site, missing string) {
	get := func(path string) *yaml.Node {
		if path == "" {
			return nil
		}
		n := follow(doc, path)
		if n == nil && missing == "" {
			missing = path
		}
		return n
	}
	if k.Image != "" {
		n := get(k.Image)
		if n == nil {
			return nil, missing
		}
		return &whole{scalar: n}, ""
	}
	parts := &Split{registry: get(k.Registry), repository: get(k.Repository), tag: get(k.Tag), digest: get(k.Digest), marked: true}
	if missing != "" || len(parts.nodes()) == 0 {
		return nil, missing
	}
	return parts, ""
}

// addExplicit adds a reference before the search begins, so that its scalars belong to nothing else.
func (f *finder) addExplicit(s site) {
	for _, n := range s.nodes() {
		f.claimed[n] = true
	}
	f.sites = append(f.sites, s)
}
