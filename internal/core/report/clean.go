package report

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// sequence matches the sequences by which a program drives a terminal: colours, cursor movement, titles, links. See
// ECMA-48, and for titles and links https://invisible-island.net/xterm/ctlseqs/ctlseqs.html.
var sequence = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b\n]*(\x07|\x1b\\\\)?|\x1b[ -/]*[0-Z\\\\`-~]")

// Clean returns text of a container, a server or a file in a form that no terminal acts on: control sequences are left
// out, other control characters are shown as pictures, and bytes that are not UTF-8 as U+FFFD. Newlines and tabs stay. Of
// a line that a program overwrote by carriage returns, the last state stays.
func Clean(text string) string {
	if !strings.ContainsFunc(text, control) && utf8.ValidString(text) {
		return text
	}
	text = sequence.ReplaceAllString(strings.ToValidUTF8(text, "\ufffd"), "")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, "\r")
		if at := strings.LastIndexByte(line, '\r'); at >= 0 {
			line = line[at+1:]
		}
		lines[i] = strings.Map(func(r rune) rune {
			switch {
			case r < 0x20 && r != '\t':
				return 0x2400 + r // Unicode's pictures of the control characters
			case r == 0x7f:
				return '\u2421'
			case control(r):
				return utf8.RuneError
			}
			return r
		}, line)
	}
	return strings.Join(lines, "\n")
}

// control reports whether a terminal may act on a character: C0 without newline and tab, DEL, C1, and the marks that
// change the direction of text.
func control(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// cleaned returns the event with clean texts.
func cleaned(e Event) Event {
	e.Object, e.Message = Clean(e.Object), Clean(e.Message)
	return e
}
