package dockerfile_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

func TestFromContext(t *testing.T) {
	for text, want := range map[string]struct {
		sources int
		context bool
	}{
		"COPY . /":                        {1, true},
		"copy --chown=1:1 a b /":          {2, true},
		"COPY [\"a b\", \"c\"]":           {1, true},
		"COPY <<A <<B /\nx\nA\ny\nB":      {2, true},
		"COPY --from=build /a /":          {1, false},
		"ADD . /":                         {1, true},
		"ADD rootfs.tar.xz /":             {1, false},
		"ADD https://example.com/a /":     {1, false},
		"ADD git@github.com:o/r.git /r":   {1, false},
		"RUN --mount=type=cache,target=/": {0, false},
	} {
		f := dockerfile.Parse([]byte("FROM scratch\n" + text + "\n"))
		i := f.Stages[0].Instructions[0]
		assert.Equal(t, want.sources, i.Sources(), text)
		assert.Equal(t, want.context, i.FromContext(), text)
	}
}

// The history of an image is that of the stages that it is made from, in their order.
func TestHistory(t *testing.T) {
	f := dockerfile.Parse([]byte(`# syntax=docker/dockerfile:1
ARG BASE=debian
FROM --platform=$BUILDPLATFORM ${BASE} AS Base
RUN a \
 && b
FROM base AS other
RUN other
FROM BASE
COPY --from=other --chmod=600 x /
ONBUILD RUN later
CMD ["a", "--flag"]
`))
	assert.Equal(t, "$BUILDPLATFORM", f.Stages[0].Platform)
	for target, want := range map[string][]string{
		"":      {"RUN a   && b", "COPY --from=other --chmod=600 x /", `CMD ["a", "--flag"]`},
		"OTHER": {"RUN a   && b", "RUN other"},
		"0":     {"RUN a   && b"},
	} {
		history, err := f.History(target)
		require.NoError(t, err)
		var got []string
		for _, i := range history {
			got = append(got, i.String())
		}
		assert.Equal(t, want, got, target)
	}
	_, err := f.History("none")
	require.ErrorContains(t, err, `the Dockerfile has no stage "none"`)
}

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

func TestWithArg(t *testing.T) {
	text := []byte("ARG A\nFROM a \\\n  AS b\nRUN c\n# FROM\nRUN <<E\nFROM x\nE\nFROM b")
	want := "ARG A\nFROM a \\\n  AS b\nARG G=\"1\"\nRUN c\n# FROM\nRUN <<E\nFROM x\nE\nFROM b\nARG G=\"1\"\n"
	assert.Equal(t, want, string(dockerfile.Parse(text).WithArg(text, "G", "1")))
}

func TestHereDocuments(t *testing.T) {
	f := dockerfile.Parse([]byte("FROM a\nRUN <<A cat <<-'B' && c\n x\nA\n\ty\n\tB\nRUN echo $((1<<EOF))\nCOPY <<E /e\nz\nE"))
	instructions := f.Stages[0].Instructions
	assert.Len(t, instructions, 3)
	assert.Equal(t, []string{" x\nA\n", "\ty\n\tB\n"}, instructions[0].Documents)
	assert.Empty(t, instructions[1].Documents)
	assert.Equal(t, []string{"z\nE"}, instructions[2].Documents)
}

// What ONBUILD names is run by the stages that are made from its own, and only by these.
func TestHistoryOfTriggers(t *testing.T) {
	f := dockerfile.Parse([]byte(`FROM debian AS parent
RUN a
ONBUILD COPY --chmod=600 x /
ONBUILD RUN <<EOF
b
EOF
RUN c
FROM parent AS child
RUN d
FROM child
RUN e
`))
	history, err := f.History("")
	require.NoError(t, err)
	var got []string
	for _, i := range history {
		got = append(got, i.String())
	}
	assert.Equal(t, []string{"RUN a", "RUN c", "COPY --chmod=600 x /", "RUN <<EOF", "RUN d", "RUN e"}, got)
	assert.Equal(t, 3, history[2].Line)
	history, err = f.History("parent")
	require.NoError(t, err)
	assert.Len(t, history, 2)
}

// A FROM whose argument has no value names no image: none is looked for in a registry.
func TestNameless(t *testing.T) {
	f := dockerfile.Parse([]byte("ARG BASE\nARG FLAGS=\"-O2 -g\" MODE=x\nFROM ${BASE} AS a\nARG PORT=80\nFROM a\n"))
	c, err := f.Closure("", nil, "linux/amd64")
	require.NoError(t, err)
	assert.Empty(t, c.Images)
	assert.Equal(t, []string{"FROM ${BASE}"}, c.Nameless)
	assert.Equal(t, []string{"FROM ${BASE}: it names no image"}, c.Moving)
	c, err = f.Closure("", map[string]string{"BASE": "alpine"}, "linux/amd64")
	require.NoError(t, err)
	assert.Equal(t, []string{"alpine"}, c.Images)
	assert.Empty(t, c.Nameless)
	assert.Equal(t, map[string]bool{"BASE": true, "FLAGS": true, "MODE": true, "PORT": true}, f.Declared(), "a quoted value is one word")
}
