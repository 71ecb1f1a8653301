package dockerfile_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

func TestDeclaredArgs(t *testing.T) {
	for name, test := range map[string]struct {
		dockerfile string
		want       []string
	}{
		"none":            {"FROM scratch\nENV REVISION=1\n", nil},
		"plain":           {"ARG BASE\nFROM $BASE\nARG REVISION=unknown\n", []string{"BASE", "REVISION"}},
		"case and tabs":   {"from scratch\n\targ\tREVISION\r\n", []string{"REVISION"}},
		"several":         {"ARG A B=2 C\n", []string{"A", "B", "C"}},
		"continued":       {"ARG \\\n  # a comment\n\n  REVISION\nFROM scratch\n", []string{"REVISION"}},
		"inside a RUN":    {"FROM a\nRUN echo \\\nARG REVISION\n", nil},
		"comment":         {"# ARG REVISION\nFROM a\n", nil},
		"here-document":   {"FROM a\nRUN <<EOF\nARG REVISION\nEOF\nARG LATER\n", []string{"LATER"}},
		"two documents":   {"COPY <<A <<-\"B\" /\nARG X\nA\nARG Y\n\tB\nARG Z\n", []string{"Z"}},
		"escape":          {"# escape=`\nFROM a\nRUN dir C:\\\nARG REVISION\n", []string{"REVISION"}},
		"no escape later": {"FROM a\n# escape=`\nRUN a \\\nARG REVISION\n", nil},
		"no newline":      {"ARG REVISION", []string{"REVISION"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := slices.Sorted(maps.Keys(dockerfile.Parse([]byte(test.dockerfile)).Declared()))
			assert.Equal(t, test.want, got)
		})
	}
}
