package edit

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/manifest/edit/aligned"
)

// Unit is one YAML stream with its references: a file, or a text inside of one, such as the values of an Application.
type Unit struct {
	*editor
	finders []*finder // by document
	always  map[site]bool

	// Of a text inside of another unit:
	parent   *Unit
	node     *yaml.Node    // the scalar that holds it
	toParent func(int) int // an offset of the text as one of the parent's; nil when the text cannot be edited in place
	indent   string        // of its lines in the parent
	form     yaml.Style    // of a text that is quoted with escapes, or folded; else 0
	children []*Unit
}

// Reading says how a file is read.
type Reading struct {
	Traces [][]byte // texts in the file that hold none of these are not parsed
	Below  Layers
	Keys   []Keys // those that are for this file
}

// maxDepth bounds texts in texts: an Application with values with a ConfigMap with a manifest.
const maxDepth = 4

// Read parses a file and finds its references.
func Read(name, shown string, content []byte, how Reading) (*Unit, error) {
	s, err := parse(shown, content)
	if err != nil {
		return nil, err
	}
	u := &Unit{editor: newEditor(s), always: map[site]bool{}}
	explicit, err := explicitSites(s, how.Keys)
	if err != nil {
		return nil, err
	}
	for _, doc := range s.docs {
		f := newFinder(how.Below)
		for _, k := range explicit[doc] {
			f.addExplicit(k)
			u.always[k] = true
		}
		f.find(name, doc)
		u.finders = append(u.finders, f)
		u.embed(f, how, 1)
	}
	return u, nil
}

// embed reads the texts of a document that are YAML and may hold the image.
func (u *Unit) embed(f *finder, how Reading, depth int) {
	if depth > maxDepth {
		return
	}
	for _, t := range f.texts {
		if !MayHold([]byte(t.node.Value), how.Traces) {
			continue
		}
		s, err := parse(u.name, []byte(t.node.Value))
		if err != nil || !slices.ContainsFunc(s.docs, isCollection) {
			continue // a template, a script, prose
		}
		child := &Unit{editor: newEditor(s), always: map[site]bool{}, parent: u, node: t.node}
		if child.toParent, child.indent = u.placeOf(t.node); child.toParent == nil {
			child.toParent, child.form = u.aligned(t.node)
		}
		for _, doc := range s.docs {
			inner := newFinder(nil)
			inner.findText(doc, t.values)
			child.finders = append(child.finders, inner)
			child.embed(inner, how, depth+1)
		}
		u.children = append(u.children, child)
	}
}

func isCollection(doc *yaml.Node) bool {
	return len(doc.Content) > 0 && doc.Content[0].Kind != yaml.ScalarNode
}

// placeOf returns how offsets in a scalar's text become offsets in the bytes around it; nil where the text is escaped or
// folded, so that the two differ in more than indentation.
func (u *Unit) placeOf(n *yaml.Node) (toParent func(int) int, indent string) {
	if n.Style&yaml.LiteralStyle == 0 {
		sp, err := u.locate(n)
		if err != nil || string(u.content[sp.start:sp.end]) != n.Value {
			return nil, ""
		}
		return func(at int) int { return sp.start + at }, ""
	}
	inner := lineStarts([]byte(n.Value))
	first := n.Line // the text begins on the next line, which has this index
	at, err := u.offset(n.Line, n.Column)
	if err != nil {
		return nil, ""
	}
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		first = u.lineAt(u.skipProperties(at))
	}
	starts := make([]int, len(inner))
	for i, start := range inner {
		end := len(n.Value)
		if i+1 < len(inner) {
			end = inner[i+1]
		}
		text := strings.TrimRight(n.Value[start:end], "\n")
		if first+i >= len(u.lines) {
			if text != "" {
				return nil, ""
			}
			starts[i] = len(u.content)
			continue
		}
		line := string(u.content[u.lines[first+i]:u.endOfLine(u.lines[first+i])])
		spaces, ok := strings.CutSuffix(line, text)
		if text == "" {
			starts[i] = u.lines[first+i] + min(len(indent), len(line))
			continue
		}
		if !ok || strings.Trim(spaces, " ") != "" || indent != "" && indent != spaces {
			return nil, ""
		}
		indent = spaces
		starts[i] = u.lines[first+i] + len(spaces)
	}
	return func(at int) int {
		i, found := slices.BinarySearch(inner, at)
		if !found {
			i--
		}
		return starts[i] + at - inner[i]
	}, indent
}

// aligned is placeOf for scalars that hold escapes or are folded, with their form.
func (u *Unit) aligned(n *yaml.Node) (toParent func(int) int, form yaml.Style) {
	var at []int
	var ok bool
	start := 0
	switch form = n.Style &^ (yaml.TaggedStyle | yaml.FlowStyle); form {
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		sp, err := u.locate(n)
		if err != nil {
			return nil, 0
		}
		align := aligned.SingleQuoted
		if form == yaml.DoubleQuotedStyle {
			align = aligned.DoubleQuoted
		}
		start = sp.start
		at, ok = align(u.content[sp.start:sp.end], n.Value)
	case yaml.FoldedStyle:
		header, err := u.offset(n.Line, n.Column)
		if err != nil {
			return nil, 0
		}
		if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
			header = u.skipProperties(header)
		}
		start = u.endOfLine(header)
		start += lineBreak(u.content[start:])
		at, ok = aligned.Folded(u.content[start:], n.Value)
	}
	if !ok {
		return nil, 0
	}
	return func(offset int) int { return start + at[offset] }, form
}

// inserted returns how a text that replaces a part of a child's is written in this unit.
func (u *Unit) inserted(child *Unit, text string) string {
	switch child.form {
	case yaml.DoubleQuotedStyle:
		return aligned.Encode(text)
	case yaml.SingleQuotedStyle:
		text = strings.ReplaceAll(text, "'", "''")
		return strings.ReplaceAll(text, "\n", u.newline()+u.newline())
	}
	return strings.ReplaceAll(text, "\n", u.newline()+child.indent)
}

// position returns the line of a node in the file, 1-based.
func (u *Unit) position(n *yaml.Node) int {
	at, ok := u.place(n)
	top := u.top()
	if !ok {
		return top.lineAt(min(at, max(len(top.content)-1, 0)))
	}
	return top.lineAt(at)
}

// place returns the offset of a node in the file. It is that of the text around it, and false, when the text cannot be
// edited in place.
func (u *Unit) place(n *yaml.Node) (int, bool) {
	n = located(n)
	at, err := u.offset(n.Line, n.Column)
	if err != nil {
		return 0, false
	}
	if u.parent == nil {
		return at, true
	}
	if u.toParent == nil {
		at, _ := u.parent.place(u.node)
		return at, false
	}
	return u.parent.absolute(u.toParent(at)), true
}

func (u *Unit) absolute(at int) int {
	for u.parent != nil {
		if u.toParent == nil {
			at, _ := u.parent.place(u.node)
			return at
		}
		u, at = u.parent, u.toParent(at)
	}
	return at
}

// located is a node itself, or what an alias stands for: where the value is written.
func located(n *yaml.Node) *yaml.Node { return deref(n) }

func (u *Unit) top() *Unit {
	for u.parent != nil {
		u = u.parent
	}
	return u
}

// editable reports whether the unit's text can be edited in place.
func (u *Unit) editable() bool {
	return u.parent == nil || u.toParent != nil && u.parent.editable()
}

// each calls visit for every reference of the unit and of the texts in it, in the order in which they are found.
func (u *Unit) each(visit func(*Unit, *finder, site)) {
	for _, f := range u.finders {
		for _, s := range f.sites {
			visit(u, f, s)
		}
	}
	for _, child := range u.children {
		child.each(visit)
	}
}

// finish makes the edits of all texts in the unit and then its own, and returns the new content.
func (u *Unit) finish() ([]byte, error) {
	for _, child := range u.children {
		content, err := child.finish()
		if err != nil {
			return nil, err
		}
		for _, s := range child.splices {
			s.start, s.end = child.toParent(s.start), child.toParent(s.end)
			s.text = u.inserted(child, s.text)
			u.splices = append(u.splices, s)
		}
		if len(child.splices) > 0 {
			child.node.Value = string(content)
		}
	}
	if err := u.rewrite(); err != nil {
		return nil, err
	}
	if u.pinner != nil {
		u.pinner.write()
	}
	if len(u.splices) == 0 {
		return u.content, nil
	}
	return u.editor.finish()
}
