package edit

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/encoding"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// remaining returns the texts that name the image and were not set: in annotations, in arguments, in scripts, in shapes
// that are not recognised.
// Governed are repositories that a kustomization sets.
func (u *Unit) remaining(w Wanted, governed map[string]bool) []Remaining {
	r := &remains{Wanted: w, unit: u, governed: governed, set: map[*yaml.Node]bool{}, inside: map[*yaml.Node]*Unit{}}
	for _, f := range u.finders {
		for s := range f.meant(w) {
			r.claim(s)
		}
	}
	for s := range u.always {
		r.claim(s)
	}
	for _, child := range u.children {
		r.inside[child.node] = child
	}
	for i, doc := range u.docs {
		if !u.finders[i].foreign {
			r.walk(doc, "")
		}
	}
	return r.found
}

// remains collects what remains in one unit.
type remains struct {
	Wanted
	unit     *Unit
	governed map[string]bool
	set      map[*yaml.Node]bool  // scalars of references that are set
	inside   map[*yaml.Node]*Unit // scalars that are YAML themselves
	found    []Remaining
}

func (r *remains) claim(s site) {
	if !r.unit.editable() {
		return
	}
	for _, n := range s.nodes() {
		r.set[n] = true
		r.set[deref(n)] = true
	}
}

func (r *remains) walk(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		if isForeignKind(groupKind(n)) {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.walk(n.Content[i+1], strings.TrimPrefix(path+"."+n.Content[i].Value, "."))
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			r.walk(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.DocumentNode:
		for _, child := range n.Content {
			r.walk(child, path)
		}
	case yaml.ScalarNode:
		r.scalar(n, path)
	}
}

func (r *remains) scalar(n *yaml.Node, path string) {
	if r.set[n] {
		return
	}
	if child := r.inside[n]; child != nil {
		for _, found := range child.remaining(r.Wanted, r.governed) {
			found.Key = path + ": " + found.Key
			r.found = append(r.found, found)
		}
		return
	}
	mentions := r.mentions(n.Value)
	if len(mentions) == 0 && r.sameName(n.Value) {
		mentions = []mention{{0, n.Value}}
	}
	for _, m := range mentions {
		line := r.unit.position(n)
		if r.unit.editable() && n.Style&yaml.LiteralStyle != 0 {
			line += 1 + strings.Count(n.Value[:m.at], "\n")
		}
		r.found = append(r.found, Remaining{File: r.unit.top().name, Line: line, Key: path, Text: m.text})
	}
}

// sameName reports whether a text is a reference with the image's path whose host is a variable, or missing: it may be
// the image.
func (r *remains) sameName(s string) bool {
	image := ref.Read(strings.TrimSpace(s))
	if image.Tag == "" && image.Digest == "" || r.governed[image.Repository] {
		return false
	}
	if first, rest, found := strings.Cut(image.Repository, "/"); found && strings.Contains(first, "{") {
		return rest == r.path
	}
	return image.Repository == r.path && strings.Contains(r.path, "/") && image.String() != r.image.String()
}

// mention is a reference in a text, and where it begins.
type mention struct {
	at   int
	text string
}

// mentions returns the references to the image in a text, except the target itself. A repository without tag and digest
// counts only when it is the whole text: in prose and addresses it is no reference. So that web:8080 is none either, a
// repository needs its host, or a path.
func (w Wanted) mentions(s string) []mention {
	whole := strings.TrimSpace(s)
	var out []mention
	for _, name := range w.fullNames() {
		for from := 0; ; {
			i := strings.Index(s[from:], name)
			if i < 0 {
				break
			}
			start := from + i
			from = start + len(name)
			if start > 0 && isReferenceByte(s[start-1]) && !strings.HasSuffix(s[:start], "://") {
				continue
			}
			text := s[start:endOfReference(s, from)]
			r := ref.Read(text)
			versioned := r.Repository == name && (r.Tag != "" || r.Digest != "")
			if text != w.image.String() && (versioned || whole == name) && !(whole == name && whole == w.image.Repository && w.image.Host() == "") {
				out = append(out, mention{start, text})
			}
		}
	}
	return out
}

// InText reports whether the bytes of a file that cannot be parsed name the image.
func (w Wanted) InText(content []byte) bool {
	content, _ = encoding.UTF8(content)
	text := string(content)
	for _, name := range append(w.fullNames(), w.path) {
		for from := 0; ; {
			i := strings.Index(text[from:], name)
			if i < 0 {
				break
			}
			start := from + i
			from = start + len(name)
			end := from == len(text) || !isReferenceByte(text[from])
			if strings.Contains(name, "/") {
				if end && (start == 0 || text[start-1] == '/' || !isReferenceByte(text[start-1])) {
					return true
				}
				continue
			}
			// A name without a path is a word like others: it needs a tag or a digest.
			versioned := from+1 < len(text) && (text[from] == ':' || text[from] == '@') && text[from+1] > ' '
			if versioned && (start == 0 || !isReferenceByte(text[start-1]) || text[start-1] == '/') {
				return true
			}
		}
	}
	return false
}

// InSettings returns the lines of a file of settings that name the image.
func (w Wanted) InSettings(name string, content []byte) []Remaining {
	var out []Remaining
	for i, line := range strings.Split(string(content), "\n") {
		for _, m := range w.mentions(line) {
			key, _, _ := strings.Cut(line, "=")
			out = append(out, Remaining{File: name, Line: i + 1, Key: strings.TrimSpace(key), Text: m.text})
		}
	}
	return out
}

// fullNames returns the repositories to look for in texts.
func (w Wanted) fullNames() []string {
	var out []string
	for _, r := range append([]ref.Ref{w.image}, w.replace...) {
		if r.Host() != "" || strings.Contains(r.Repository, "/") {
			out = append(out, r.Repository)
		}
	}
	return out
}

func isReferenceByte(b byte) bool {
	return b == '.' || b == '_' || b == '-' || b == '/' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// endOfReference returns where the reference ends whose repository ends at an offset: behind its tag and digest.
func endOfReference(s string, end int) int {
	for end < len(s) && (isReferenceByte(s[end]) || s[end] == ':' || s[end] == '@') {
		end++
	}
	for end > 0 && strings.IndexByte(".:@-", s[end-1]) >= 0 {
		end--
	}
	return end
}
