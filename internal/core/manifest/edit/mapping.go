package edit

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mappingEdit is what happens to the keys of one mapping. All of it is planned before any of it is written, so that a
// key which goes and one which comes do not depend on each other.
type mappingEdit struct {
	node     *yaml.Node
	inserted []pairText
	removed  map[string]bool
}

// pairText is a key and a string value to be written.
type pairText struct{ key, value string }

func (m *mappingEdit) insert(key, value string) {
	m.inserted = append(m.inserted, pairText{key, value})
}

func (e *editor) mapping(n *yaml.Node) *mappingEdit {
	m := e.mappings[n]
	if m == nil {
		m = &mappingEdit{node: n, removed: map[string]bool{}}
		e.mappings[n] = m
		e.order = append(e.order, m)
	}
	return m
}

// rewrite plans the splices for all mappings that get or lose keys.
func (e *editor) rewrite() error {
	for _, m := range e.order {
		if err := e.rewriteMapping(m); err != nil {
			return err
		}
	}
	return nil
}

func (e *editor) rewriteMapping(m *mappingEdit) error {
	segments, err := e.segments(m.node)
	if err != nil {
		return err
	}
	keeps := func(i int) bool { return !m.removed[m.node.Content[2*i].Value] }
	first, last := -1, -1
	for i := range segments {
		if keeps(i) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return fmt.Errorf("%s:%d: cannot edit a mapping of which no key stays: write it on lines of its own", e.name, m.node.Line)
	}
	flow := m.node.Style&yaml.FlowStyle != 0
	e.insertAfter(m, segments[last].end, flow)
	if first > 0 {
		e.cutFirst(segments[:first+1], flow)
	}
	content := m.node.Content[2*first : 2*first : 2*first]
	for i := first; i < len(segments); i++ {
		switch {
		case keeps(i):
			content = append(content, m.node.Content[2*i], m.node.Content[2*i+1])
		case flow:
			e.splices = append(e.splices, splice{start: segments[i-1].end, end: segments[i].end})
		default:
			e.splices = append(e.splices, splice{start: e.endOfLineBefore(segments[i].start), end: segments[i].end})
		}
	}
	for _, p := range m.inserted {
		content = append(content, newScalar(p.key), newScalar(p.value))
	}
	m.node.Content = content
	return nil
}

// insertAfter writes the new keys behind an offset, which is the end of the last key that stays.
func (e *editor) insertAfter(m *mappingEdit, end int, flow bool) {
	for _, p := range m.inserted {
		text := e.newline() + strings.Repeat(" ", m.node.Content[0].Column-1) + p.key + ": " + e.written(p.value)
		if flow {
			text = ", " + e.quoted(m.node, p.key) + ": " + e.written(p.value)
		}
		e.splices = append(e.splices, splice{end, end, text})
	}
}

// cutFirst removes all segments but the last, which takes the place of the first. Comments between them go behind it.
func (e *editor) cutFirst(segments []segment, flow bool) {
	stays := segments[len(segments)-1]
	e.splices = append(e.splices, splice{start: segments[0].start, end: stays.start})
	if flow {
		return
	}
	for i, s := range segments[:len(segments)-1] {
		if between := e.content[s.end:e.endOfLineBefore(segments[i+1].start)]; len(bytes.TrimSpace(between)) > 0 {
			e.splices = append(e.splices, splice{stays.end, stays.end, string(between)})
		}
	}
}

// segment is the text of a key and its value, in block style with the comment behind it.
type segment struct{ start, end int }

// segments returns the text of each pair of a mapping.
func (e *editor) segments(n *yaml.Node) ([]segment, error) {
	var out []segment
	for i := 0; i+1 < len(n.Content); i += 2 {
		start, err := e.offset(n.Content[i].Line, n.Content[i].Column)
		if err != nil {
			return nil, err
		}
		out = append(out, segment{start: start})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s:%d: cannot add a key to an empty mapping", e.name, n.Line)
	}
	for i := range out {
		value := n.Content[2*i+1]
		switch {
		case n.Style&yaml.FlowStyle != 0:
			end, err := e.end(value)
			if err != nil {
				return nil, err
			}
			out[i].end = end
		case i+1 < len(out):
			out[i].end = e.endOfText(out[i].start, e.lineAt(out[i+1].start))
		default:
			out[i].end = e.endOfText(out[i].start, e.lineBehind(n.Content[2*i], value))
		}
	}
	return out, nil
}

// endOfText returns the end of the last line before a line that is neither blank nor a comment, and not before start.
func (e *editor) endOfText(start, line int) int {
	for line--; line > e.lineAt(start); line-- {
		text := bytes.TrimSpace(e.content[e.lines[line-1]:e.endOfLine(e.lines[line-1])])
		if len(text) > 0 && text[0] != '#' {
			break
		}
	}
	return e.endOfLine(e.lines[line-1])
}

// lineBehind returns the first line behind the value of a key in block style: the first that is indented no deeper than
// the key. A list may stand as deep as its key.
func (e *editor) lineBehind(key, value *yaml.Node) int {
	line := e.lineAt(e.lines[key.Line-1])
	for line++; line <= len(e.lines); line++ {
		text := e.content[e.lines[line-1]:e.endOfLine(e.lines[line-1])]
		trimmed := bytes.TrimLeft(text, " ")
		indent := len(text) - len(trimmed)
		switch {
		case len(bytes.TrimSpace(trimmed)) == 0, trimmed[0] == '#', indent > key.Column-1:
			continue
		case indent == key.Column-1 && value.Kind == yaml.SequenceNode && bytes.HasPrefix(trimmed, []byte("-")) && !bytes.HasPrefix(trimmed, []byte("---")):
			continue
		}
		break
	}
	return line
}

// endOfLineBefore returns the end of the line before that of an offset.
func (e *editor) endOfLineBefore(at int) int {
	if line := e.lineAt(at); line > 1 {
		return e.endOfLine(e.lines[line-2])
	}
	return at
}

// quoted is a key as the keys of a mapping are written.
func (e *editor) quoted(mapping *yaml.Node, key string) string {
	if e.quotes(mapping) {
		return `"` + key + `"`
	}
	return key
}
