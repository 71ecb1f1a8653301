package doctor

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

func TestTextFitsTheTerminal(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("a word and one more ", 12))
	r := &Result{Parts: []Part{
		{Name: "engine", Checks: []delivery.Check{{Name: "engine", Status: delivery.CheckOK, Message: "embedded"}, {Name: "alone", Status: delivery.CheckOK}}},
		{Name: "dev", Checks: []delivery.Check{{Name: "registry", Status: delivery.CheckFailed, Message: long + "\nand a line", Remedy: long}}},
	}}
	text := func(width int) string {
		var b strings.Builder
		r.Text(&b, width)
		return b.String()
	}
	assert.Equal(t, "engine\n  ok       engine: embedded\n  ok       alone\n\ndev\n  failed   registry: "+long+"\n           and a line\n           "+long+"\n", text(0))
	for _, width := range []int{40, 80, 120} {
		for line := range strings.Lines(text(width)) {
			assert.Less(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), width)
			assert.Equal(t, strings.TrimRight(line, " \n"), strings.TrimRight(line, "\n"))
		}
		assert.Equal(t, strings.Fields(text(0)), strings.Fields(text(width)), "no word is lost")
		assert.Contains(t, text(width), "\n               ", "what belongs to a check stays behind its status")
	}
}
