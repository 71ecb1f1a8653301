package report_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
)

func TestFormatOutputs(t *testing.T) {
	assert.Equal(t, `image=localhost:5000/vote@sha256:abc
url=https://example.com/?a=b
lines<<aksflow-d7e2a46a48b0aae12fd3342ad7b061e93b465380b2306be913c90721718da1e3
one
two=2
aksflow-d7e2a46a48b0aae12fd3342ad7b061e93b465380b2306be913c90721718da1e3
revision=7
`, report.FormatOutputs([]report.Output{
		{Name: "image", Value: "localhost:5000/vote@sha256:abc"},
		{Name: "commit"},
		{Name: "url", Value: "https://example.com/?a=b"},
		{Name: "lines", Value: "one\ntwo=2"},
		{Name: "revision", Value: "7"},
	}))
}

// FuzzFormatOutputs reads the file as the runner does: the value comes back, and nothing in it makes another output.
func FuzzFormatOutputs(f *testing.F) {
	f.Add("plain")
	f.Add("a\nEOF\nimage=evil")
	f.Add("x\r\ny<<z\n")
	f.Fuzz(func(t *testing.T, value string) {
		text := report.FormatOutputs([]report.Output{{Name: "out", Value: value}})
		if value == "" {
			assert.Empty(t, text)
			return
		}
		head, rest, _ := strings.Cut(text, "\n")
		if _, delimiter, ok := strings.Cut(head, "out<<aksflow-"); ok {
			got, after, found := strings.Cut(rest, "\naksflow-"+delimiter+"\n")
			assert.True(t, found)
			assert.Empty(t, after)
			assert.Equal(t, value, got)
			return
		}
		assert.Equal(t, "out="+value+"\n", text)
		assert.NotContains(t, value, "\n")
	})
}

func TestMarkdownTable(t *testing.T) {
	assert.Equal(t, `| Step | Seconds |  |
| --- | --- | --- |
| build | 1.2 | a\|b<br/>c |
`, report.MarkdownTable([]string{"Step", "Seconds", ""}, [][]string{{"build", "1.2", "a|b\nc"}}))
}

func TestMarkdownText(t *testing.T) {
	for text, want := range map[string]string{
		"tests.test_page.test_a_b": "tests.test_page.test_a_b",
		"a[1*2] <b> &lt; `x`":      "a\\[1\\*2\\] &lt;b&gt; &amp;lt; \\`x\\`",
		"$5 or $6, c:\\d":          "\\$5 or \\$6, c:\\\\d",
		"__init__ _x_ a__b _":      "\\_\\_init\\_\\_ \\_x\\_ a__b \\_",
	} {
		assert.Equal(t, want, report.MarkdownText(text), text)
	}
}

func TestMarkdownBlock(t *testing.T) {
	assert.Equal(t, "```text\nno such image\n```\n", report.MarkdownBlock("no such image\n"))
	assert.Equal(t, "`````text\nsee\n````\n`x`\n`````\n", report.MarkdownBlock("see\n````\n`x`"))
}

func TestAppendFileKeepsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	require.NoError(t, report.AppendFile(path, "a=1\n"))
	require.NoError(t, report.AppendFile(path, "b=2\n"))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "a=1\nb=2\n", string(data))
	assert.Error(t, report.AppendFile(filepath.Join(path, "no", "such"), "x"))
}

func TestGitHubFail(t *testing.T) {
	var out bytes.Buffer
	g := report.NewGitHub(&out, "")
	g.Fail(errors.New("aksflow.yaml:3: unknown key\nmore"))
	assert.Equal(t, "::error title=aksflow::aksflow.yaml:3: unknown key%0Amore\n", out.String())

	out.Reset()
	play(g)
	said := out.Len()
	g.Fail(errors.New("test: 1 test failed"))
	assert.Equal(t, said, out.Len(), "the step that failed has said it")
}

func TestGitHubPointsAtFaults(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	fault := report.Event{Kind: report.Fault, Step: "test", Object: "unit: test_page", Message: "assert 1 == 2", File: "app/test_page.py", Line: 7}
	for name, tt := range map[string]struct{ root, want string }{
		"from below the root": {filepath.Dir(here), "report/app/test_page.py"},
		"outside the root":    {filepath.Join(here, "elsewhere"), "app/test_page.py"},
		"no root":             {"", "app/test_page.py"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			report.NewGitHub(&out, tt.root).Event(fault)
			assert.Equal(t, "::error title=unit%3A test_page,file="+tt.want+",line=7::assert 1 == 2\n", out.String())
		})
	}
	var out bytes.Buffer
	report.NewPlain(&out, false).Event(fault)
	assert.Empty(t, out.String(), "the error that follows says it")
}
