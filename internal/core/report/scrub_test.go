package report_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/report"
)

func TestScrubber(t *testing.T) {
	s := report.NewScrubber([]string{"secret", "secrets are longer", "  padded\n", "", "a", "to", "\ne\n", "-----BEGIN KEY-----\nabcdefghijkl\n}\n-----END KEY-----\n"})
	for in, want := range map[string]string{
		"a secret here":                 "a *** here",
		"secrets are longer than most":  "*** than most",
		"padded and   padded\n":         "*** and ***",
		"line abcdefghijkl of a key":    "line *** of a key",
		"func() { a short line stays }": "func() { a short line stays }",
		"nothing":                       "nothing",
		"proxy_token: a value to see":   "proxy_token: a value to see",
	} {
		got := s.Text(in)
		assert.NotContains(t, got, "abcdefghijkl")
		assert.Equal(t, strings.Join(strings.Fields(want), " "), strings.Join(strings.Fields(got), " "), in)
	}
	assert.Equal(t, "as it is", report.Scrubber{}.Text("as it is"))
}
