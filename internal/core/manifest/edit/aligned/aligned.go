// Package aligned finds the bytes of a YAML scalar that each byte of its value comes from, where the two differ: in quoted
// scalars with escapes, and in folded ones. So a part of the value can be replaced in place.
//
// The rules are those of https://yaml.org/spec/1.2.2/#chapter-7-flow-style-productions and #8.1.3. What is not understood is
// reported as not aligned.
package aligned

import (
	"bytes"
	"strings"
)

// escapes are the values of the escapes of one character in double-quoted scalars.
var escapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': "\"", '/': "/", '\\': "\\", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

// hexDigits is how many digits follow the escapes of code points.
var hexDigits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

// DoubleQuoted returns, for each byte of a value and for its end, the offset in source, which is what stands between the
// quotes.
func DoubleQuoted(source []byte, value string) (at []int, ok bool) {
	a := aligner{source: source, value: value}
	for a.from < len(source) {
		switch {
		case source[a.from] != '\\':
			a.plain()
		case a.from+1 >= len(source):
			return nil, false
		case isBreak(source[a.from+1]): // the line goes on, without a blank
			a.from++
			a.skipBlank()
		default:
			a.escape(source[a.from+1])
		}
		if a.failed {
			return nil, false
		}
	}
	return a.done()
}

// SingleQuoted is DoubleQuoted for single quotes, where two stand for one.
func SingleQuoted(source []byte, value string) (at []int, ok bool) {
	a := aligner{source: source, value: value}
	for a.from < len(source) && !a.failed {
		if bytes.HasPrefix(source[a.from:], []byte("''")) {
			a.take("'", 2)
			continue
		}
		a.plain()
	}
	return a.done()
}

// Folded is DoubleQuoted for a folded block scalar. Source begins with the line after its header, and may go on after its end.
func Folded(source []byte, value string) (at []int, ok bool) {
	a := aligner{source: source, value: value}
	indent := bytes.IndexFunc(source, func(r rune) bool { return r != ' ' })
	if indent <= 0 {
		return nil, false
	}
	for len(a.at) < len(value) && a.from < len(source) && !a.failed {
		line := source[a.from:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end]
		}
		text := strings.TrimSuffix(string(line[min(indent, len(line)):]), "\r")
		begin := a.from
		if text != "" && strings.Trim(string(line[:min(indent, len(line))]), " ") == "" {
			a.from += indent
			a.take(text, len(text))
		}
		a.from = min(begin+len(line), len(source))
		a.breaks()
		a.from = min(a.from+1, len(source))
	}
	if a.failed || len(a.at) != len(value) {
		return nil, false
	}
	return append(a.at, a.end), true
}

// Encode writes a text as it stands in a double-quoted scalar.
func Encode(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(text)
}

// aligner goes through source and value together.
type aligner struct {
	source []byte
	value  string
	from   int // in source
	at     []int
	end    int // where the last byte that was taken ends in source
	failed bool
}

// take notes that width bytes of source are text.
func (a *aligner) take(text string, width int) {
	if !strings.HasPrefix(a.value[len(a.at):], text) {
		a.failed = true
		return
	}
	for i := range len(text) {
		offset := 0
		if width == len(text) {
			offset = i
		}
		a.at = append(a.at, a.from+offset)
	}
	a.from += width
	a.end = a.from
}

// escape takes an escape, whose letter is given.
func (a *aligner) escape(letter byte) {
	if digits, known := hexDigits[letter]; known {
		// The value says which code point it is; only its length is needed.
		if len(a.at) >= len(a.value) {
			a.failed = true
			return
		}
		for _, r := range a.value[len(a.at):] {
			a.take(string(r), 2+digits)
			return
		}
	}
	text, known := escapes[letter]
	if !known {
		a.failed = true
		return
	}
	a.take(text, 2)
}

// plain takes one byte, or a line break with the blanks around it.
func (a *aligner) plain() {
	blank := a.from
	for blank < len(a.source) && (a.source[blank] == ' ' || a.source[blank] == '\t') {
		blank++
	}
	if blank < len(a.source) && isBreak(a.source[blank]) {
		a.from = blank
		a.fold()
		return
	}
	a.take(string(a.source[a.from:a.from+1]), 1)
}

// breaks takes what line breaks of a folded block stand for: a blank, or line breaks.
func (a *aligner) breaks() {
	rest := a.value[len(a.at):]
	count := len(rest) - len(strings.TrimLeft(rest, "\n"))
	if count == 0 && strings.HasPrefix(rest, " ") {
		count = 1
	}
	a.takeAt(count)
}

// takeAt notes that the next bytes of the value come from one place.
func (a *aligner) takeAt(count int) {
	for range count {
		a.at = append(a.at, a.from)
	}
	if count > 0 {
		a.end = a.from
	}
}

// fold takes a line break in quotes, with the blanks and empty lines behind it: a blank, or one line break less than there
// are.
func (a *aligner) fold() {
	begin := a.from
	a.skipBlank()
	breaks := bytes.Count(a.source[begin:a.from], []byte("\n"))
	text := " "
	switch {
	case breaks == 0: // those of old machines
		a.failed = true
		return
	case breaks > 1:
		text = strings.Repeat("\n", breaks-1)
	}
	end := a.from
	a.from = begin
	a.take(text, 0)
	a.from = end
}

func (a *aligner) skipBlank() {
	for a.from < len(a.source) && (isBreak(a.source[a.from]) || a.source[a.from] == ' ' || a.source[a.from] == '\t') {
		a.from++
	}
}

func (a *aligner) done() ([]int, bool) {
	if a.failed || len(a.at) != len(a.value) {
		return nil, false
	}
	return append(a.at, len(a.source)), true
}

func isBreak(b byte) bool { return b == '\n' || b == '\r' }
