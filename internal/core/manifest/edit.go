package manifest

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
	users   map[*yaml.Node][]*yaml.Node // the aliases of an anchored node; made when first asked for
}

// splice replaces content[start:end].
type splice struct {
	start, end int
	text       string
}

func newEditor(s *source) *editor {
	return &editor{source: s, set: map[*yaml.Node]string{}}
}

// apply plans ops and returns how many of them change something.
func (e *editor) apply(ops []op, targeted map[*yaml.Node]bool) (int, error) {
	changed := 0
	for _, o := range ops {
		var did bool
		var err error
		switch {
		case o.node != nil:
			did, err = e.setScalar(o.node, o.value, targeted)
		case o.rename != "":
			did, err = e.renameKey(o)
		case o.remove:
			did, err = e.removeKey(o.mapping, o.key)
		default:
			did, err = e.insertKey(o.mapping, o.key, o.value)
		}
		if err != nil {
			return 0, err
		}
		if did {
			changed++
		}
	}
	return changed, nil
}

// setScalar gives a scalar its value. For an alias that is the anchored scalar, as long as everything that uses the
// anchor is to be set; otherwise the alias is replaced where it stands.
func (e *editor) setScalar(n *yaml.Node, value string, targeted map[*yaml.Node]bool) (bool, error) {
	if n.Kind == yaml.AliasNode {
		anchored := deref(n)
		if !targeted[anchored] && !e.allTargeted(anchored, targeted) {
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

// allTargeted tells whether all aliases of an anchored scalar are to be set.
func (e *editor) allTargeted(anchored *yaml.Node, targeted map[*yaml.Node]bool) bool {
	if e.users == nil {
		e.users = map[*yaml.Node][]*yaml.Node{}
		for _, doc := range e.docs {
			e.collectUsers(doc)
		}
	}
	for _, alias := range e.users[anchored] {
		if !targeted[alias] {
			return false
		}
	}
	return true
}

func (e *editor) collectUsers(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		e.users[n.Alias] = append(e.users[n.Alias], n)
		return
	}
	for _, child := range n.Content {
		e.collectUsers(child)
	}
}

// renameKey replaces a key and its value: newTag: 1 becomes digest: sha256:…
func (e *editor) renameKey(o op) (bool, error) {
	for i := 0; i+1 < len(o.mapping.Content); i += 2 {
		key, value := o.mapping.Content[i], o.mapping.Content[i+1]
		if key.Value != o.key {
			continue
		}
		if value.Kind != yaml.ScalarNode {
			return false, fmt.Errorf("%s:%d: %s is an alias: write the value out", e.name, value.Line, o.key)
		}
		if _, err := e.setScalar(key, o.rename, nil); err != nil {
			return false, err
		}
		return e.setScalar(value, o.value, nil)
	}
	return false, nil
}

// removeKey takes a key and its value out of a mapping: its lines in block style, its text in flow style.
func (e *editor) removeKey(mapping *yaml.Node, name string) (bool, error) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != name {
			continue
		}
		if i == 0 {
			return false, fmt.Errorf("%s:%d: cannot take %s out of the entry: move it behind the name", e.name, mapping.Line, name)
		}
		start, err := e.end(mapping.Content[i-1])
		if err != nil {
			return false, err
		}
		end, err := e.end(mapping.Content[i+1])
		if err != nil {
			return false, err
		}
		if mapping.Style&yaml.FlowStyle == 0 {
			if start, err = e.offset(mapping.Content[i].Line, 1); err != nil {
				return false, err
			}
			end = e.endOfLine(end)
			if n := lineBreak(e.content[end:]); n > 0 {
				end += n
			} else if start > 0 { // the last line, without a line break: the one before it takes its place
				start--
				if start > 0 && e.content[start] == '\n' && e.content[start-1] == '\r' {
					start--
				}
			}
		}
		e.splices = append(e.splices, splice{start: start, end: end})
		mapping.Content = slices.Delete(mapping.Content, i, i+2)
		return true, nil
	}
	return false, nil
}

// insertKey adds a key behind the last one of a mapping.
func (e *editor) insertKey(mapping *yaml.Node, name, value string) (bool, error) {
	// Insertions into one mapping stand at one place, in the order asked for; the nodes that were added have no
	// position and are passed over.
	last := len(mapping.Content) - 1
	for last >= 0 && mapping.Content[last].Line == 0 {
		last--
	}
	if last < 1 {
		return false, fmt.Errorf("%s:%d: cannot add %s to an empty mapping", e.name, mapping.Line, name)
	}
	end, err := e.end(mapping.Content[last])
	if err != nil {
		return false, err
	}
	if mapping.Style&yaml.FlowStyle != 0 {
		key := name
		if e.quotes(mapping) {
			key = `"` + name + `"`
		}
		e.splices = append(e.splices, splice{end, end, ", " + key + ": " + e.written(value)})
	} else {
		end = e.endOfLine(end)
		indent := strings.Repeat(" ", mapping.Content[0].Column-1)
		e.splices = append(e.splices, splice{end, end, e.newline() + indent + name + ": " + e.written(value)})
	}
	mapping.Content = append(mapping.Content, newScalar(name), newScalar(value))
	return true, nil
}

// newScalar is a string scalar without a position.
func newScalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// quotes tells whether the keys of a mapping are quoted, as in JSON.
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

// isPlainString tells whether YAML 1.1 and 1.2 both read the text as the string that it is. Tags may look like
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

// entryFields are the keys and values of an item of images:, in order.
type entryFields [][2]string

// addEntries adds items to the list images: of a kustomization, which is made when there is none.
func (e *editor) addEntries(entries []entryFields) error {
	if len(entries) == 0 {
		return nil
	}
	if len(e.docs) == 0 || len(e.docs[0].Content) == 0 || e.docs[0].Content[0].Kind != yaml.MappingNode {
		return fmt.Errorf("%s: a kustomization is wanted here", e.name)
	}
	root := e.docs[0].Content[0]
	var items []*yaml.Node
	for _, fields := range entries {
		item := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, field := range fields {
			item.Content = append(item.Content, newScalar(field[0]), newScalar(field[1]))
		}
		items = append(items, item)
	}
	images := at(root, "images")
	switch {
	case images == nil:
		if err := e.addImages(root, entries); err != nil {
			return err
		}
		root.Content = append(root.Content, newScalar("images"), &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: items})
	case images.Kind == yaml.ScalarNode && images.Tag == "!!null":
		sp, err := e.scalar(images)
		if err != nil {
			return err
		}
		end := e.endOfLine(sp.end)
		e.splices = append(e.splices, splice{end, end, e.newline() + e.blockItems(entries, root.Column-1)})
		if sp.end > sp.start { // images: ~
			e.splices = append(e.splices, splice{start: sp.start, end: sp.end})
		}
		*images = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: items}
	case images.Kind != yaml.SequenceNode:
		return fmt.Errorf("%s:%d: images is no list", e.name, images.Line)
	case images.Style&yaml.FlowStyle != 0:
		open, err := e.offset(images.Line, images.Column)
		if err != nil {
			return err
		}
		if open = e.skipProperties(open); open >= len(e.content) || e.content[open] != '[' {
			return fmt.Errorf("%s:%d: cannot add to images: write it as a list with dashes", e.name, images.Line)
		}
		text := e.flowItems(entries, e.quotes(root))
		if len(images.Content) > 0 {
			text += ", "
		}
		e.splices = append(e.splices, splice{open + 1, open + 1, text})
		images.Content = slices.Insert(images.Content, 0, items...)
	default:
		end, err := e.end(images)
		if err != nil {
			return err
		}
		end = e.endOfLine(end)
		e.splices = append(e.splices, splice{end, end, e.newline() + e.blockItems(entries, images.Column-1)})
		images.Content = append(images.Content, items...)
	}
	return nil
}

// addImages adds the key images: with its items at the end of a kustomization.
func (e *editor) addImages(root *yaml.Node, entries []entryFields) error {
	if root.Style&yaml.FlowStyle != 0 {
		end := bytes.LastIndexByte(e.content, '}')
		last, err := e.end(root)
		if err != nil {
			return err
		}
		if end < last {
			return fmt.Errorf("%s: cannot add images to this kustomization: write it with one key a line", e.name)
		}
		// Behind the last value, so that a line break before the brace stays.
		for end > last && bytes.IndexByte([]byte(" \t\r\n"), e.content[end-1]) >= 0 {
			end--
		}
		key := "images"
		if e.quotes(root) {
			key = `"images"`
		}
		e.splices = append(e.splices, splice{end, end, ", " + key + ": [" + e.flowItems(entries, e.quotes(root)) + "]"})
		return nil
	}
	indent := root.Column - 1
	items := indent
	for i := 1; i < len(root.Content); i += 2 {
		if list := root.Content[i]; list.Kind == yaml.SequenceNode && list.Style&yaml.FlowStyle == 0 {
			items = max(indent, list.Column-1) // as the author indents lists
			break
		}
	}
	text := strings.Repeat(" ", indent) + "images:" + e.newline() + e.blockItems(entries, items)
	at := e.documentEnd()
	if at > 0 && e.content[at-1] != '\n' && e.content[at-1] != '\r' {
		text = e.newline() + text
	} else {
		text += e.newline()
	}
	e.splices = append(e.splices, splice{at, at, text})
	return nil
}

// documentEnd returns where the only document's block content ends: at a line ... or the end of the stream.
func (e *editor) documentEnd() int {
	if e.lines == nil {
		e.lines = lineStarts(e.content)
	}
	for i := len(e.lines) - 1; i > 0; i-- {
		line := bytes.TrimRight(e.content[e.lines[i]:e.endOfLine(e.lines[i])], " \t")
		if bytes.Equal(line, []byte("...")) {
			return e.lines[i]
		}
	}
	return len(e.content)
}

// blockItems writes entries as items with dashes, without a line break behind the last.
func (e *editor) blockItems(entries []entryFields, indent int) string {
	var lines []string
	for _, fields := range entries {
		mark := "- "
		for _, field := range fields {
			lines = append(lines, strings.Repeat(" ", indent)+mark+field[0]+": "+e.written(field[1]))
			mark = "  "
		}
	}
	return strings.Join(lines, e.newline())
}

// flowItems writes entries as items in braces.
func (e *editor) flowItems(entries []entryFields, quoted bool) string {
	var items []string
	for _, fields := range entries {
		var parts []string
		for _, field := range fields {
			key := field[0]
			if quoted {
				key = `"` + key + `"`
			}
			parts = append(parts, key+": "+e.written(field[1]))
		}
		items = append(items, "{"+strings.Join(parts, ", ")+"}")
	}
	return strings.Join(items, ", ")
}

// finish splices the content, parses what came out, and refuses it unless it says what the edited documents say.
func (e *editor) finish() ([]byte, error) {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Compare(a.start, b.start) })
	var out bytes.Buffer
	done := 0
	for _, s := range e.splices {
		if s.start < done {
			return nil, fmt.Errorf("%s:%d: two edits meet in one place", e.name, e.lineAt(s.start))
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
