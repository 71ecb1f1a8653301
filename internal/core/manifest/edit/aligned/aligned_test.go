package aligned

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestAligned replaces the word NAME in scalars of each form, and has the parser say what came out.
func TestAligned(t *testing.T) {
	for name, test := range map[string]struct {
		align  func([]byte, string) ([]int, bool)
		before string
		source string
		after  string
	}{
		"escapes":       {DoubleQuoted, `a: "`, `one: \"NAME\"\n\ttwo\\ \u00e4\x41/: NAME:1\nb: c\n`, `"`},
		"several lines": {DoubleQuoted, `a: "`, "one\\n  \n  two NAME \n\n  three\\\n   four NAME", `"`},
		"quotes":        {SingleQuoted, `a: '`, "it''s NAME\n\n  and '' NAME", `'`},
		"folded":        {Folded, "a: >-\n", "  one NAME\n  two\n\n  three NAME\n    more NAME\n  end\n", "b: c\n"},
		"folded, kept":  {Folded, "a: >+\n", "   x: NAME\n\n", "b: NAME\n"},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(source string) string {
				var into struct{ A string }
				require.NoError(t, yaml.Unmarshal([]byte(test.before+source+test.after), &into))
				return into.A
			}
			value := read(test.source)
			source := []byte(test.source)
			if strings.HasPrefix(name, "folded") {
				source = append(source, test.after...)
			}
			at, ok := test.align(source, value)
			require.True(t, ok)
			require.Len(t, at, len(value)+1)
			edited := test.source
			for i := strings.LastIndex(value, "NAME"); i >= 0; i = strings.LastIndex(value[:i], "NAME") {
				require.Equal(t, "NAME", edited[at[i]:at[i+3]+1])
				edited = edited[:at[i]] + "acme/web:2" + edited[at[i+3]+1:]
			}
			assert.Equal(t, strings.ReplaceAll(value, "NAME", "acme/web:2"), read(edited))
		})
	}
}

func TestEncode(t *testing.T) {
	const text = "a: \"b\\c\"\n\td"
	var into string
	require.NoError(t, yaml.Unmarshal([]byte(`"`+Encode(text)+`"`), &into))
	assert.Equal(t, text, into)
}

// FuzzDoubleQuoted has the parser's value of whatever scalar: it is aligned or refused, and never out of range.
func FuzzDoubleQuoted(f *testing.F) {
	f.Add(`one\n two\"`)
	f.Add("a\r b")
	f.Add("a\\\n  b \n\n c\\x41")
	f.Fuzz(func(t *testing.T, source string) {
		var value string
		if yaml.Unmarshal([]byte(`"`+source+`"`), &value) != nil {
			return
		}
		at, ok := DoubleQuoted([]byte(source), value)
		if !ok {
			return
		}
		last := 0
		for _, offset := range at {
			if offset < last || offset > len(source) {
				t.Fatalf("%q: %v", source, at)
			}
			last = offset
		}
	})
}
