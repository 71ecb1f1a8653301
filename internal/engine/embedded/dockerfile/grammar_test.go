package dockerfile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

// TestTheReaderOfKeysAgreesWithBuildKit compares package core/build/dockerfile, of which build keys are made, with the parser
// that builds: where they differ, a change of the source may be missing in the key.
func TestTheReaderOfKeysAgreesWithBuildKit(t *testing.T) {
	for name, text := range map[string]string{
		"byte order mark":                    "\ufeffFROM scratch\nCOPY a /\n",
		"byte order mark before a directive": "\ufeff# escape=`\nFROM scratch\nCOPY a `\n  b /\n",
		"CRLF":                               "FROM scratch\r\nCOPY a \\\r\n  b /\r\nRUN <<EOF\r\necho 1\r\nEOF\r\nCOPY c /\r\n",
		"a word that goes on":                "FROM scratch\nRUN --mount=type=bind,\\\nfrom=debian,target=/d ls\nCOPY a /\n",
		"two backslashes":                    "FROM scratch\nRUN echo a\\\\\nCOPY a /\n",
		"a comment in an instruction":        "FROM scratch\nRUN echo a && \\\n  # why\n\n  echo b\nCOPY a /\n",
		"a comment that looks like more":     "FROM scratch\n# RUN a \\\nCOPY a /\n",
		"the end of the file":                "FROM scratch\nCOPY a \\",
		"lower case":                         "from scratch as one\ncopy a /\nFrom one\nonbuild copy b /\n",
		"escape":                             "# escape=`\nFROM scratch\nWORKDIR C:\\\nCOPY a `\n b /\n",
		"escape after a comment":             "# a comment\n# escape=`\nFROM scratch\nCOPY a \\\n b /\n",
		"a document with a dot in its name":  "FROM scratch\nCOPY <<robots.txt <<humans.txt /html/\nUser-agent: *\n# a comment\nrobots.txt\nFROM here\nhumans.txt\nCOPY a /\n",
		"a document with a dash in its name": "FROM scratch\nRUN <<END-1\n# a comment\nCOPY b /\nEND-1\nCOPY a /\n",
		"a quoted name of two words":         "FROM scratch\nCOPY <<\"the end\" /x\n# text\nthe end\nCOPY a /\n",
		"a name with a quote inside":         "FROM scratch\nCOPY <<E\"O\"F /x\n# text\nEOF\nCOPY a /\n",
		"an escaped name":                    "FROM scratch\nCOPY <<\\EOF /x\n# text\nEOF\nCOPY a /\n",
		"tabs before the end of a document":  "FROM scratch\nRUN <<EOF\necho 1\n\tEOF\n# text\nEOF\nRUN <<-EOF\n\techo 1\n\tEOF\nCOPY a /\n",
		"a file descriptor":                  "FROM scratch\nRUN 3<<EOF cat /dev/fd/3\n# text\nEOF\nCOPY a /\n",
		"a shift, and a here-string":         "FROM scratch\nRUN echo $((1<<2)); cat <<<EOF\nRUN echo \"<<EOF\"\nRUN echo '<<EOF'\nCOPY a /\n",
		"an instruction without documents":   "FROM scratch\nLABEL a=<<EOF\nENV b <<EOF\nCOPY a /\n",
		"onbuild with a document":            "FROM scratch\nONBUILD RUN <<EOF\n# text\nEOF\nCOPY a /\n",
		"a separator after the name":         "FROM scratch\nRUN cat <<EOF; echo\n# text\nEOF;\nCOPY a /\n",
		"a redirection after the name":       "FROM scratch\nRUN cat <<EOF >/x && cat <<A | sh\n# text\nEOF\n# more\nA\nCOPY a /\n",
		"a variable in the name":             "FROM scratch\nRUN cat <<$A\n# text\n$A\nCOPY a /\n",
		"an empty line in an instruction":    "FROM scratch\nRUN echo a \\\n\n  && echo b\nCOPY a /\n",
		"spaces before an instruction":       "  FROM scratch\n\t COPY a /\n",
		"a carriage return alone":            "FROM scratch\nRUN echo a\rb\nCOPY a /\n",
		"form feed":                          "FROM scratch\nCOPY\va /\nRUN\fx\n",
		"a json form with documents":         "FROM scratch\nRUN [\"echo\", \"<<EOF\"]\nCOPY [\"<<EOF\", \"/x\"]\nCOPY a /\n",
	} {
		t.Run(name, func(t *testing.T) {
			ast, err := parser.Parse(strings.NewReader(text))
			require.NoError(t, err)
			assert.Equal(t, ofBuildKit(ast), ofKeys(dockerfile.Parse([]byte(text))))
		})
	}
}

// ofBuildKit lists the instructions as BuildKit reads them, with the line of each, its flags and its here-documents.
func ofBuildKit(r *parser.Result) (list []string) {
	for _, n := range r.AST.Children {
		if strings.EqualFold(n.Value, "from") {
			list = append(list, "FROM")
			continue
		}
		documents := n.Heredocs
		if n.Next != nil && strings.EqualFold(n.Value, "onbuild") {
			for _, inner := range n.Next.Children {
				documents = append(documents, inner.Heredocs...)
			}
		}
		var text bytes.Buffer
		for _, d := range documents {
			text.WriteString(d.Content)
		}
		list = append(list, fmt.Sprintf("%d %s %q %q", n.StartLine, strings.ToUpper(n.Value), n.Flags, text.String()))
	}
	return list
}

// ofKeys lists what build keys are made of in the same form.
func ofKeys(f dockerfile.File) (list []string) {
	add := func(i dockerfile.Instruction) {
		var text strings.Builder
		for _, d := range i.Documents {
			text.WriteString(d[:strings.LastIndexByte(strings.TrimRight(d, "\n"), '\n')+1]) // without the line that ends it
		}
		list = append(list, fmt.Sprintf("%d %s %q %q", i.Line, i.Name, i.Flags, text.String()))
	}
	for _, i := range f.Global {
		add(i)
	}
	for _, s := range f.Stages {
		list = append(list, "FROM")
		for _, i := range s.Instructions {
			add(i)
		}
	}
	return list
}
