package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, é 日本":                       "plain text, é 日本",
		"two\nlines\tand a tab":                  "two\nlines\tand a tab",
		"\x1b[2J\x1b[31mred\x1b[0m":              "red",
		"\x1b]0;title\x07after":                  "after",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
		"\x1bcreset":                             "reset",
		"bell\x07, DEL\x7f, escape\x1b":          "bell␇, DEL␡, escape␛",
		"latin\xe9 \xff\xfe":                     "latin\ufffd \ufffd",
		" 10%\r 20%\r\n done":                    " 20%\n done",
		"c1 \u009b31m":                           "c1 \ufffd31m",
		"\u202eevil":                             "\ufffdevil",
		"\x1b]0;never ends":                      "",
	} {
		assert.Equal(t, want, Clean(in), "%q", in)
	}
}

// No sink lets a container's output drive the terminal.
func TestSinksClean(t *testing.T) {
	const evil = "\x1b]0;title\x07\x1b[2Jtext"
	for name, sink := range map[string]func(*bytes.Buffer) Sink{
		"plain":  func(b *bytes.Buffer) Sink { return NewPlain(b, true) },
		"github": func(b *bytes.Buffer) Sink { return NewGitHub(b, "") },
	} {
		var out bytes.Buffer
		s := sink(&out)
		for kind := StepStarted; kind <= Fault; kind++ {
			s.Event(Event{Kind: kind, Step: "build", Object: evil, Message: evil, Err: errors.New(evil)})
		}
		assert.Contains(t, out.String(), "text", name)
		assert.False(t, strings.ContainsAny(out.String(), "\x1b\x07"), "%s: %q", name, out.String())
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[31mred\x1b[0m\r\n\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := Clean(text)
		assert.False(t, strings.ContainsFunc(got, control), "%q", got)
		assert.True(t, utf8.ValidString(got))
		assert.Equal(t, got, Clean(got))
	})
}
