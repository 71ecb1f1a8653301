package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/encoding"
	"github.com/aksflow/aksflow/internal/core/fault"
)

// source is a YAML or JSON stream: its bytes, its documents, and the way from a node back to its bytes.
type source struct {
	name    string // for errors
	content []byte
	docs    []*yaml.Node
	json    bool                // values must stay quoted
	utf16   bool                // content is the text of a file in UTF-16
	lines   []int               // offset of each line's first byte
	spans   map[*yaml.Node]span // those found already: a node's value may be edited afterwards
}

var (
	byteOrderMark = []byte("\xef\xbb\xbf")
	// The parser knows YAML 1.1 only. For what a manifest uses, 1.2 reads the same.
	yamlDirective = regexp.MustCompile(`(?m)^(\x{feff}?%YAML[ \t]+1\.)[2-9]`)
	jsonStart     = regexp.MustCompile(`^\s*(?:\[\s*)*\{\s*"`)
	// The parser refuses two of JSON's escapes: the slash, and characters beyond the basic plane in two halves.
	jsonEscape = regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)
)

// parse reads all documents of a stream.
func parse(name string, content []byte) (s *source, err error) {
	content, wide := encoding.UTF8(content)
	s = &source{name: name, content: content, lines: lineStarts(content), utf16: wide}
	if IsSettings(name) {
		s.docs = []*yaml.Node{s.settings()}
		return s, nil
	}
	s.json = path.Ext(name) == ".json" || jsonStart.Match(bytes.TrimPrefix(content, byteOrderMark))

	// What is masked keeps its length, so that positions stay true.
	readable := content
	if bytes.Contains(content, []byte("%YAML")) {
		readable = yamlDirective.ReplaceAll(readable, []byte("${1}1"))
	}
	escapes := s.json && bytes.IndexByte(content, '\\') >= 0
	if escapes {
		readable = jsonEscape.ReplaceAllFunc(readable, func(escape []byte) []byte {
			switch {
			case len(escape) > 2:
				return []byte(`\u003f\u003f`)
			case escape[1] == '/':
				return []byte(slashEscape)
			}
			return escape
		})
	}

	defer func() {
		// The parser has panicked on hostile input before; a manifest must not be able to end the process.
		if p := recover(); p != nil {
			s, err = nil, fault.Usagef("%s: not valid YAML: %v", name, p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(readable))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, notYAML(name, content, err)
		}
		if escapes {
			restoreSlashes(&doc)
		}
		s.docs = append(s.docs, &doc)
	}
}

// slashEscape stands for JSON's escaped slash while the parser reads: JSON has no such escape, and its value is slashMark.
const (
	slashEscape = `\a`
	slashMark   = "\a"
)

// restoreSlashes puts slashes where the parser read slashEscape.
func restoreSlashes(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Style&yaml.DoubleQuotedStyle != 0 {
		n.Value = strings.ReplaceAll(n.Value, slashMark, "/")
	}
	for _, child := range n.Content {
		restoreSlashes(child)
	}
}

// settings returns the lines NAME=VALUE of a file as a list of scalars.
func (s *source) settings() *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: 1, Column: 1}
	for i, start := range s.lines {
		line := string(s.content[start:s.endOfLine(start)])
		if text := strings.TrimSpace(line); text != "" && text[0] != '#' {
			list.Content = append(list.Content, &yaml.Node{
				Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: i + 1, Column: 1 + utf8.RuneCountInString(line[:strings.Index(line, text)]),
			})
		}
	}
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{list}}
}

var errorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

func notYAML(name string, content []byte, err error) error {
	if line := encoding.InvalidLine(content); line > 0 {
		return fault.Usagef("%s:%d: not valid YAML: a character here is not in UTF-8: save the file in UTF-8", name, line)
	}
	hint := ""
	if bytes.Contains(content, []byte("{{")) {
		hint = " (a template: point at its values instead)"
	}
	if m := errorLine.FindStringSubmatch(err.Error()); m != nil {
		if m[1] != "" {
			name += ":" + m[1]
		}
		return fault.Usagef("%s: not valid YAML: %s%s", name, m[2], hint)
	}
	return fault.Usagef("%s: not valid YAML: %w%s", name, err, hint)
}

// offset returns where a node's line and column, both 1-based, stand in the bytes. Lines end where the parser says that
// they end, columns count characters, and a byte order mark counts as nothing.
func (s *source) offset(line, column int) (int, error) {
	if line < 1 || line > len(s.lines) {
		return 0, fmt.Errorf("%s: the parser names line %d, which the file does not have", s.name, line)
	}
	at := s.lines[line-1]
	for ; column > 1; column-- {
		if at >= len(s.content) {
			return 0, fmt.Errorf("%s:%d: the parser names a column that the line does not have", s.name, line)
		}
		_, size := utf8.DecodeRune(s.content[at:])
		at += size
	}
	return at, nil
}

// lineStarts finds the lines as YAML 1.1 has them: CR, LF, CRLF, NEL, LS and PS end one.
func lineStarts(content []byte) []int {
	first := 0
	if bytes.HasPrefix(content, byteOrderMark) {
		first = len(byteOrderMark)
	}
	starts := []int{first}
	for i := first; i < len(content); {
		if n := lineBreak(content[i:]); n > 0 {
			i += n
			starts = append(starts, i)
			continue
		}
		i++
	}
	return starts
}

// lineBreak returns the length of the line break that b starts with, or 0.
func lineBreak(b []byte) int {
	switch {
	case len(b) == 0:
		return 0
	case b[0] == '\n':
		return 1
	case b[0] == '\r':
		if len(b) > 1 && b[1] == '\n' {
			return 2
		}
		return 1
	case b[0] == 0xC2 && len(b) > 1 && b[1] == 0x85:
		return 2
	case b[0] == 0xE2 && len(b) > 2 && b[1] == 0x80 && (b[2] == 0xA8 || b[2] == 0xA9):
		return 3
	}
	return 0
}

// lineAt returns the 1-based line of an offset.
func (s *source) lineAt(at int) int {
	return max(1, sort.SearchInts(s.lines, at+1))
}

// endOfLine returns the offset of the line break that ends the line of at, or the end of the content.
func (s *source) endOfLine(at int) int {
	for at < len(s.content) && lineBreak(s.content[at:]) == 0 {
		at++
	}
	return at
}

// newline is the line break that the content uses first; "\n" when it has none.
func (s *source) newline() string {
	end := s.endOfLine(0)
	if n := lineBreak(s.content[end:]); n > 0 {
		return string(s.content[end : end+n])
	}
	return "\n"
}

// span is the text of a scalar in the bytes: without its quotes, its block indicator, its anchor and its tag.
type span struct {
	start, end int
	plain      bool // no quotes around it, and no block indicator before it
}

// scalar finds the text of a scalar node, or the token of an alias.
func (s *source) scalar(n *yaml.Node) (span, error) {
	if sp, found := s.spans[n]; found {
		return sp, nil
	}
	sp, err := s.locate(n)
	if err != nil {
		return span{}, err
	}
	if s.spans == nil {
		s.spans = map[*yaml.Node]span{}
	}
	s.spans[n] = sp
	return sp, nil
}

func (s *source) locate(n *yaml.Node) (span, error) {
	at, err := s.offset(n.Line, n.Column)
	if err != nil {
		return span{}, err
	}
	if n.Kind == yaml.AliasNode {
		end := at + 1 + len(n.Value)
		if end > len(s.content) || string(s.content[at:end]) != "*"+n.Value {
			return span{}, s.lost(n)
		}
		return span{start: at, end: end, plain: true}, nil
	}
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		at = s.skipProperties(at)
	}
	rest := s.content[at:]
	switch n.Style &^ (yaml.TaggedStyle | yaml.FlowStyle) {
	case yaml.DoubleQuotedStyle:
		for i := 1; i < len(rest) && rest[0] == '"'; i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return span{start: at + 1, end: at + i}, nil
			}
		}
	case yaml.SingleQuotedStyle:
		for i := 1; i < len(rest) && rest[0] == '\''; i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				i++
				continue
			}
			return span{start: at + 1, end: at + i}, nil
		}
	case yaml.LiteralStyle, yaml.FoldedStyle:
		// The text stands on a later line. One that spans several lines is no image.
		for i := s.endOfLine(at); i < len(s.content); {
			i += lineBreak(s.content[i:])
			end := s.endOfLine(i)
			line := string(s.content[i:end])
			if text := strings.Trim(line, " \t"); text != "" {
				start := i + strings.Index(line, text)
				if text != strings.TrimSpace(n.Value) {
					break
				}
				return span{start: start, end: start + len(text)}, nil
			}
			i = end
		}
	default:
		if bytes.HasPrefix(rest, []byte(n.Value)) {
			return span{start: at, end: at + len(n.Value), plain: true}, nil
		}
	}
	return span{}, s.lost(n)
}

func (s *source) lost(n *yaml.Node) error {
	return fmt.Errorf("%s:%d: the value %q is written in a form that cannot be edited in place: write it on one line",
		s.name, n.Line, n.Value)
}

// skipProperties steps over anchors and tags, and what may stand between them and the value.
func (s *source) skipProperties(at int) int {
	for at < len(s.content) {
		switch b := s.content[at]; {
		case b == '&' || b == '!':
			for at < len(s.content) && s.content[at] != ' ' && s.content[at] != '\t' && lineBreak(s.content[at:]) == 0 {
				at++
			}
		case b == ' ' || b == '\t':
			at++
		case b == '#':
			at = s.endOfLine(at)
		case lineBreak(s.content[at:]) > 0:
			at += lineBreak(s.content[at:])
		default:
			return at
		}
	}
	return at
}

// end returns the offset behind the last byte of a node, its closing quote or bracket included.
func (s *source) end(n *yaml.Node) (int, error) {
	flow := n.Style&yaml.FlowStyle != 0
	switch {
	case n.Kind == yaml.ScalarNode || n.Kind == yaml.AliasNode:
		sp, err := s.scalar(n)
		if err != nil {
			return 0, err
		}
		if quoted := n.Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle); quoted != 0 && n.Kind == yaml.ScalarNode {
			sp.end++
		}
		return sp.end, nil
	case !flow && len(n.Content) > 0:
		return s.end(n.Content[len(n.Content)-1])
	case !flow:
		return s.offset(n.Line, n.Column)
	}
	at, err := s.offset(n.Line, n.Column)
	if err != nil {
		return 0, err
	}
	if len(n.Content) > 0 {
		if at, err = s.end(n.Content[len(n.Content)-1]); err != nil {
			return 0, err
		}
	} else if at = s.skipProperties(at) + 1; at > len(s.content) {
		return 0, s.lost(n)
	}
	for at < len(s.content) {
		switch b := s.content[at]; {
		case b == ']' || b == '}':
			return at + 1, nil
		case b == '#':
			at = s.endOfLine(at)
		case b == ' ' || b == '\t' || b == ',':
			at++
		case lineBreak(s.content[at:]) > 0:
			at += lineBreak(s.content[at:])
		default:
			return 0, s.lost(n)
		}
	}
	return 0, s.lost(n)
}
