package edit

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var layoutRuns = flag.Int("layouts", 25, "how many layouts TestLayouts writes")

// layout writes a tree of maps, lists and texts as YAML in ways that are chosen at random.
type layout struct {
	*rand.Rand
	anchors map[string]string // by the text that they stand for
}

// chance reports true once in n.
func (l *layout) chance(n int) bool { return l.IntN(n) == 0 }

// comment is a comment behind a line, or nothing.
func (l *layout) comment() string {
	return []string{"", "", "", " # image: shop/vote:0", "\t# größer 😀", "  ", " # {\"a\": 1}"}[l.IntN(7)]
}

// between are lines that mean nothing.
func (l *layout) between(indent string) string {
	return []string{"", "", "", "\n", indent + "# shop/vote:0\n", "# at the margin\n", "   \n"}[l.IntN(7)]
}

// layoutPairs is a mapping that keeps the order of its keys.
type (
	layoutPairs []layoutPair
	layoutPair  struct {
		key   string
		value any
	}
)

// block writes a node in block style. It begins behind "key:" or "-", and ends with a line break.
func (l *layout) block(node any, indent string, inList bool) string {
	switch n := node.(type) {
	case layoutPairs:
		if l.chance(6) {
			return " " + l.flow(n, indent+"  ") + l.comment() + "\n"
		}
		var b strings.Builder
		for i, p := range n {
			switch {
			case i == 0 && inList:
				b.WriteString(" ")
			case i == 0:
				b.WriteString(l.comment() + "\n" + l.between(indent) + indent)
			default:
				b.WriteString(l.between(indent) + indent)
			}
			deeper := indent + strings.Repeat(" ", 1+l.IntN(4))
			if _, isList := p.value.([]any); isList && l.chance(2) {
				deeper = indent
			}
			b.WriteString(l.key(p.key) + []string{":", ":", " :"}[l.IntN(3)] + l.block(p.value, deeper, false))
		}
		return b.String()
	case []any:
		if l.chance(6) {
			return " " + l.flow(n, indent+"  ") + l.comment() + "\n"
		}
		var b strings.Builder
		b.WriteString(l.comment() + "\n")
		for _, item := range n {
			dash := "-" + strings.Repeat(" ", l.IntN(3))
			b.WriteString(l.between(indent) + indent + dash + l.block(item, indent+strings.Repeat(" ", len(dash)+1), true))
		}
		return b.String()
	}
	return l.scalar(node.(string), indent)
}

// scalar writes a text behind "key:" or "-".
func (l *layout) scalar(text, indent string) string {
	if strings.Contains(text, "\n") {
		return l.text(text, indent)
	}
	if name := l.anchors[text]; name != "" && l.chance(3) {
		return " *" + name + l.comment() + "\n"
	}
	props := ""
	if l.chance(12) {
		name := fmt.Sprintf("a%d", len(l.anchors))
		if l.anchors[text] == "" {
			l.anchors[text] = name
			props = " &" + name
		}
	}
	if l.chance(12) {
		props += " !!str"
	}
	more := indent + "  "
	switch l.IntN(9) {
	case 0:
		return props + " >-" + l.headComment() + "\n" + more + text + "\n"
	case 1:
		return props + " |-" + l.headComment() + "\n" + more + text + "\n"
	case 2:
		return props + l.headComment() + "\n" + more + l.inline(text) + l.comment() + "\n"
	}
	return props + strings.Repeat(" ", 1+l.IntN(3)) + l.inline(text) + l.comment() + "\n"
}

// headComment is a comment behind the header of a block.
func (l *layout) headComment() string { return []string{"", "", " # vote"}[l.IntN(3)] }

// text writes several lines.
func (l *layout) text(text, indent string) string {
	if strings.HasPrefix(text, " ") || l.chance(3) {
		return " " + quoteDouble(text) + l.comment() + "\n"
	}
	more := indent + strings.Repeat(" ", 1+l.IntN(4))
	var b strings.Builder
	b.WriteString(" |" + l.headComment() + "\n")
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			line = more + line
		}
		b.WriteString(line)
	}
	return b.String()
}

func quoteDouble(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(text) + `"`
}

// inline writes a text of one line.
func (l *layout) inline(text string) string {
	plain := isPlainString(text) && !strings.ContainsAny(text, ",[]{}#&*!|>'\"%@` ")
	switch n := l.IntN(4); {
	case n < 2 && plain:
		return text
	case n == 2:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return quoteDouble(text)
}

// flow writes a node in flow style.
func (l *layout) flow(node any, indent string) string {
	gap := func() string {
		return []string{"", " ", " ", "\n" + indent, " # vote\n" + indent}[l.IntN(5)]
	}
	var b strings.Builder
	switch n := node.(type) {
	case layoutPairs:
		b.WriteString("{" + gap())
		for i, p := range n {
			if i > 0 {
				b.WriteString("," + gap())
			}
			b.WriteString(l.key(p.key) + ": " + l.flow(p.value, indent))
		}
		if l.chance(4) {
			b.WriteString(",")
		}
		b.WriteString(gap() + "}")
	case []any:
		b.WriteString("[" + gap())
		for i, item := range n {
			if i > 0 {
				b.WriteString("," + gap())
			}
			b.WriteString(l.flow(item, indent))
		}
		b.WriteString(gap() + "]")
	default:
		if text := node.(string); strings.Contains(text, "\n") {
			b.WriteString(quoteDouble(text))
		} else {
			b.WriteString(l.inline(text))
		}
	}
	return b.String()
}

func (l *layout) key(key string) string {
	if l.chance(8) {
		return `"` + key + `"`
	}
	return key
}

// document writes a whole document.
func (l *layout) document(n layoutPairs) string {
	l.anchors = map[string]string{}
	head := []string{"---\n", "--- # one\n", "---\n# vote\n\n"}[l.IntN(3)]
	var b strings.Builder
	b.WriteString(head)
	for _, p := range n {
		b.WriteString(l.between("") + l.key(p.key) + ":" + l.block(p.value, "  ", false))
	}
	return b.String()
}

// object is a Deployment in which the image may stand, or a ConfigMap with one as a text.
func (l *layout) object(depth int, image string) layoutPairs {
	pick := func() string {
		return []string{image, image, "redis:8", "ghcr.io/shop/voter:1", "registry.example.com:5000/shop/vote-worker:1"}[l.IntN(5)]
	}
	if depth < 1 && l.chance(3) {
		inner := l.document(l.object(depth+1, image))
		l.anchors = map[string]string{}
		if l.chance(3) {
			inner = strings.TrimPrefix(inner, "---\n")
		}
		return layoutPairs{
			{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", layoutPairs{{"name", "texts"}}},
			{"data", layoutPairs{{"pod.yaml", inner}, {"other", "x"}}},
		}
	}
	var containers []any
	for i := range 1 + l.IntN(3) {
		c := layoutPairs{{"name", fmt.Sprintf("c%d", i)}}
		rest := layoutPairs{
			{"image", pick()}, {"args", []any{"--a", "--job-image=" + pick()}},
			{"env", []any{layoutPairs{{"name", "JOB_IMAGE"}, {"value", pick()}}, layoutPairs{{"name", "A"}, {"value", "b: c"}}}},
		}
		l.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		containers = append(containers, append(c, rest...))
	}
	return layoutPairs{
		{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"metadata", layoutPairs{{"name", "vote"}, {"labels", layoutPairs{{"app", "vote"}}}}},
		{"spec", layoutPairs{{"template", layoutPairs{{"spec", layoutPairs{{"containers", containers}}}}}}},
	}
}

// decodeAll decodes all documents of a stream to plain values, texts that are YAML included.
func decodeAll(t *testing.T, content string) []any {
	var out []any
	for d := yaml.NewDecoder(strings.NewReader(content)); ; {
		var v any
		if err := d.Decode(&v); err != nil {
			require.ErrorContains(t, err, "EOF", content)
			return out
		}
		out = append(out, v)
	}
}

// replaced is a value with the image set wherever it stands as it was.
func replaced(v any, from, to string) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = replaced(v[key], from, to)
		}
	case []any:
		for i := range v {
			v[i] = replaced(v[i], from, to)
		}
	case string:
		return strings.ReplaceAll(v, from, to)
	}
	return v
}

// TestLayouts writes objects as YAML in many ways: after the edit the documents say the same but for the image, everything
// that stood beside it stands as before, and a second edit finds nothing to do.
func TestLayouts(t *testing.T) {
	const image = "registry.example.com:5000/shop/vote:1.1.0"
	for seed := range *layoutRuns {
		l := &layout{Rand: rand.New(rand.NewPCG(uint64(seed), 7))}
		content := ""
		for range 1 + l.IntN(3) {
			content += l.document(l.object(0, image))
		}
		switch l.IntN(6) {
		case 0:
			content = strings.ReplaceAll(content, "\n", "\r\n")
		case 1:
			content = "\xef\xbb\xbf" + content
		case 2:
			content = strings.TrimRight(content, "\n")
		}
		want := decodeAll(t, content)
		for i := range want {
			want[i] = replaced(want[i], image, propertyImage)
		}
		shown := fmt.Sprintf("seed %d:\n%s", seed, content)
		r, err := Set("objects.yaml", []byte(content), propertyTarget)
		require.NoError(t, err, shown)
		got := decodeAll(t, string(r.Content))
		require.Equal(t, want, got, shown)
		assertOnlyImagesChange(t, "objects.yaml", []byte(content))
	}
}
