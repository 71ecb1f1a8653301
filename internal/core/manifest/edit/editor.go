package edit

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// editor turns ops into splices, and does to the parsed documents what the splices should do to the bytes, so that the
// two can be held against each other.
type editor struct {
	*source
	splices []splice
	set     map[*yaml.Node]string       // scalars that have been given a value
	aliases map[*yaml.Node][]*yaml.Node // of an anchored node; made when first asked for

	mappings map[*yaml.Node]*mappingEdit // mappings that get or lose keys
	order    []*mappingEdit
	pinner   *pinner // entries to add to a kustomization; nil when there is none
}

// splice replaces content[start:end].
type splice struct {
	start, end int
	text       string
}

func newEditor(s *source) *editor {
	return &editor{source: s, set: map[*yaml.Node]string{}, mappings: map[*yaml.Node]*mappingEdit{}}
}

// apply plans ops and returns how many of them change something.
func (e *editor) apply(ops []op, targets *targets) (int, error) {
	changed := 0
	for _, o := range ops {
		did, err := e.step(o, targets)
		if err != nil {
			return 0, err
		}
		if did {
			changed++
		}
	}
	return changed, nil
}

func (e *editor) step(o op, targets *targets) (bool, error) {
	switch {
	case o.inherit:
		if targets.set[o.node] || deref(o.node).Value == o.value {
			return false, nil // set where it stands, by another reference
		}
		if e.users()[targets.anchor(o)] == targets.inherited[o.node] {
			return e.setScalar(o.node, o.value, targets)
		}
		e.mapping(o.mapping).insert(o.key, o.value)
		return true, nil
	case o.node != nil:
		return e.setScalar(o.node, o.value, targets)
	case o.rename != "":
		return true, e.renameKey(o)
	case o.remove:
		e.mapping(o.mapping).removed[o.key] = true
		return true, nil
	}
	e.mapping(o.mapping).insert(o.key, o.value)
	return true, nil
}

// targets are the scalars that are to be set.
type targets struct {
	set       map[*yaml.Node]bool
	inherited map[*yaml.Node]int // how many mappings want to set the scalar that they inherit
}

func newTargets(all [][]op) *targets {
	t := &targets{set: map[*yaml.Node]bool{}, inherited: map[*yaml.Node]int{}}
	for _, ops := range all {
		for _, o := range ops {
			switch {
			case o.inherit:
				t.inherited[o.node]++
			case o.node != nil:
				t.set[o.node] = true
			}
		}
	}
	return t
}

// anchor returns the mapping that an inherited scalar stands in.
func (t *targets) anchor(o op) *yaml.Node {
	for i := 0; i+1 < len(o.mapping.Content); i += 2 {
		if o.mapping.Content[i].Tag != "!!merge" {
			continue
		}
		from := deref(o.mapping.Content[i+1])
		if from.Kind == yaml.MappingNode && slices.Contains(from.Content, o.node) {
			return from
		}
	}
	return nil
}

// setScalar gives a scalar its value. For an alias that is the anchored scalar, as long as everything that uses the
// anchor is to be set; otherwise the alias is replaced where it stands.
func (e *editor) setScalar(n *yaml.Node, value string, targets *targets) (bool, error) {
	if n.Kind == yaml.AliasNode {
		anchored := deref(n)
		if targets == nil || !targets.set[anchored] && !e.allTargeted(anchored, targets) {
			if anchored.Value == value {
				return false, nil
			}
			sp, err := e.scalar(n)
			if err != nil {
				return false, err
			}
			e.splices = append(e.splices, splice{sp.start, sp.end, e.written(value)})
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Line: n.Line, Column: n.Column}
			return true, nil
		}
		n = anchored
	}
	if earlier, found := e.set[n]; found {
		if earlier != value {
			return false, fmt.Errorf("%s:%d: the anchor &%s stands for both %s and %s: write the values out", e.name, n.Line, n.Anchor, earlier, value)
		}
		return false, nil
	}
	if n.Value == value || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && strings.TrimSpace(n.Value) == value {
		return false, nil
	}
	sp, err := e.scalar(n)
	if err != nil {
		return false, err
	}
	written := value
	if sp.plain {
		written = e.written(value)
		if sp.start == sp.end && sp.start > 0 && !bytes.ContainsAny(e.content[sp.start-1:sp.start], " \t") {
			written = " " + written // tag: with nothing behind the colon
		}
	}
	e.splices = append(e.splices, splice{sp.start, sp.end, written})
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		value = strings.Replace(n.Value, strings.TrimSpace(n.Value), value, 1) // the final line break stays
	}
	n.Value = value
	if n.Tag == "" || strings.HasPrefix(n.Tag, "!!") {
		n.Tag = "!!str"
	}
	e.set[n] = value
	return true, nil
}

// allTargeted reports whether all aliases of an anchored scalar are to be set.
func (e *editor) allTargeted(anchored *yaml.Node, targets *targets) bool {
	for _, alias := range e.aliasesOf(anchored) {
		if !targets.set[alias] {
			return false
		}
	}
	return true
}

// users returns how many aliases each anchored node has.
func (e *editor) users() map[*yaml.Node]int {
	e.aliasesOf(nil)
	count := map[*yaml.Node]int{}
	for anchored, aliases := range e.aliases {
		count[anchored] = len(aliases)
	}
	return count
}

func (e *editor) aliasesOf(anchored *yaml.Node) []*yaml.Node {
	if e.aliases == nil {
		e.aliases = map[*yaml.Node][]*yaml.Node{}
		for _, doc := range e.docs {
			e.collectAliases(doc)
		}
	}
	return e.aliases[anchored]
}

func (e *editor) collectAliases(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		e.aliases[n.Alias] = append(e.aliases[n.Alias], n)
		return
	}
	for _, child := range n.Content {
		e.collectAliases(child)
	}
}

// renameKey replaces a key and its value: newTag: 1 becomes digest: sha256:…
func (e *editor) renameKey(o op) error {
	for i := 0; i+1 < len(o.mapping.Content); i += 2 {
		key, value := o.mapping.Content[i], o.mapping.Content[i+1]
		if key.Value != o.key {
			continue
		}
		if _, err := e.setScalar(key, o.rename, nil); err != nil {
			return err
		}
		_, err := e.setScalar(value, o.value, nil)
		return err
	}
	return nil
}

// newScalar is a string scalar without a position.
func newScalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// quotes reports whether the keys of a mapping are quoted, as in JSON.
func (e *editor) quotes(mapping *yaml.Node) bool {
	return e.json || len(mapping.Content) > 0 && mapping.Content[0].Style&yaml.DoubleQuotedStyle != 0
}

// written is a value as plain text, in quotes where YAML would read something other than this string.
func (e *editor) written(value string) string {
	if e.json || !isPlainString(value) {
		return `"` + value + `"`
	}
	return value
}

// isPlainString reports whether YAML 1.1 and 1.2 both read the text as the string that it is. Tags may look like
// numbers, dates or booleans.
func isPlainString(value string) bool {
	switch strings.ToLower(value) {
	case "", "y", "n", "yes", "no", "on", "off":
		return false
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(value), &doc); err != nil || len(doc.Content) != 1 {
		return false
	}
	n := doc.Content[0]
	return n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value == value
}

// finish splices the content, parses what came out, and refuses it unless it says what the edited documents say.
func (e *editor) finish() ([]byte, error) {
	slices.SortStableFunc(e.splices, func(a, b splice) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	var out bytes.Buffer
	done := 0
	for _, s := range e.splices {
		if s.start < done {
			return nil, fmt.Errorf("%s:%d: the references here overlap and cannot be edited one by one; nothing was changed: write each value on a line of its own", e.name, e.lineAt(s.start))
		}
		out.Write(e.content[done:s.start])
		out.WriteString(s.text)
		done = s.end
	}
	out.Write(e.content[done:])

	edited, err := parse(e.name, out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the edit would break the file: %w", err)
	}
	if len(edited.docs) != len(e.docs) {
		return nil, fmt.Errorf("%s: the edit would change the number of documents; nothing was changed", e.name)
	}
	for i := range e.docs {
		if n := difference(e.docs[i], edited.docs[i]); n != nil {
			return nil, fmt.Errorf("%s:%d: the edit would change more than the image; nothing was changed: write the image on a line of its own",
				e.name, n.Line)
		}
	}
	return out.Bytes(), nil
}

// moved is where an offset of the old content stands in the new.
func (e *editor) moved(at int) int {
	shift := 0
	for _, s := range e.splices {
		if s.start < at {
			shift += len(s.text) - (s.end - s.start)
		}
	}
	return at + shift
}

// difference returns the first node of b that differs from a in anything but style, comments and position.
func difference(a, b *yaml.Node) *yaml.Node {
	if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor || a.ShortTag() != b.ShortTag() || len(a.Content) != len(b.Content) {
		return b
	}
	for i := range a.Content {
		if n := difference(a.Content[i], b.Content[i]); n != nil {
			return n
		}
	}
	return nil
}
