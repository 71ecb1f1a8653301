package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var (
	propertyImage  = "registry.example.com:5000/shop/vote:1.2.0@sha256:" + strings.Repeat("0123456789abcdef", 4)
	propertyTarget = Target{Image: propertyImage, Replace: []string{"shop/vote", "mirror.example.com/other", "flux-system:vote"}}
	// What may be written, longest first: a whole reference or its parts.
	propertyValues = []string{
		propertyImage, "1.2.0@sha256:" + strings.Repeat("0123456789abcdef", 4), "sha256:" + strings.Repeat("0123456789abcdef", 4),
		"registry.example.com:5000/shop/vote", "registry.example.com:5000", "shop/vote", "1.2.0", strings.Repeat("0123456789abcdef", 4),
	}
)

// assertOnlyImagesChange holds what must be true of every edit, for any content: the parsed documents differ in scalars
// that now are (part of) the image, the other bytes are the same, and a second edit finds nothing to do. It decodes
// with the YAML library alone, so that it shares nothing with the code it checks.
func assertOnlyImagesChange(t *testing.T, name string, content []byte) {
	t.Helper()
	r, err := Set(name, content, propertyTarget)
	if err != nil {
		return // refused: nothing was changed
	}
	if len(r.Changes) == 0 {
		require.Equal(t, string(content), string(r.Content))
		return
	}
	again, err := Set(name, r.Content, propertyTarget)
	require.NoError(t, err)
	require.Empty(t, again.Changes, "the second edit:\n%s", r.Content)

	before, after := decode(t, content), decode(t, r.Content)
	require.Len(t, after, len(before))
	kustomize := bytes.Contains(content, []byte("images")) // entries may get keys
	for i := range before {
		assertSameBut(t, before[i], after[i], kustomize)
	}
	if !kustomize {
		assertSameBytesBut(t, content, r.Content)
	}
}

func decode(t *testing.T, content []byte) []*yaml.Node {
	t.Helper()
	content = yamlDirective.ReplaceAll(content, []byte("${1}1"))
	var docs []*yaml.Node
	for d := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Skip("JSON's escapes, which this check cannot read")
		}
		docs = append(docs, &doc)
	}
}

// decodeText returns the documents of a text that is YAML itself; nil for other text.
func decodeText(text string) (docs []*yaml.Node) {
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil || len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode {
			return nil
		}
		docs = append(docs, &doc)
	}
}

func assertSameBut(t *testing.T, a, b *yaml.Node, keysMayCome bool) {
	t.Helper()
	if a.Kind == yaml.AliasNode && b.Kind == yaml.ScalarNode {
		require.Contains(t, propertyValues, b.Value, "an alias gave way to something else")
		return
	}
	require.Equal(t, a.Kind, b.Kind)
	require.Equal(t, a.Anchor, b.Anchor)
	if a.Kind == yaml.ScalarNode && a.Value != b.Value {
		if before, after := decodeText(a.Value), decodeText(b.Value); before != nil && len(before) == len(after) {
			for i := range before { // a manifest in a text
				assertSameBut(t, before[i], after[i], keysMayCome)
			}
			return
		}
		value := strings.TrimSpace(b.Value)
		if _, right, found := strings.Cut(value, "="); found {
			value = right
		}
		if !(keysMayCome && (value == "digest" || value == "newTag")) {
			require.Contains(t, propertyValues, value, "%q became %q", a.Value, b.Value)
		}
		return
	}
	if keysMayCome && a.Kind == yaml.MappingNode && len(a.Content) != len(b.Content) {
		return
	}
	require.Len(t, b.Content, len(a.Content))
	for i := range a.Content {
		assertSameBut(t, a.Content[i], b.Content[i], keysMayCome)
	}
}

// assertSameBytesBut takes the image out of the new content; what is left must be in the old, in that order, with
// nothing but old values in between.
func assertSameBytesBut(t *testing.T, before, after []byte) {
	t.Helper()
	if !bytes.Equal(bytes.ToValidUTF8(after, nil), after) {
		return
	}
	alternatives := make([]string, 0, len(propertyValues))
	for _, v := range propertyValues {
		alternatives = append(alternatives, ` ?"?(?:[^ "=\n]*=)?`+regexp.QuoteMeta(v)+`"?`)
	}
	values := regexp.MustCompile(strings.Join(alternatives, "|"))
	var pattern strings.Builder
	pattern.WriteString(`(?s)\A`)
	at := 0
	for _, m := range values.FindAllIndex(after, -1) {
		pattern.WriteString(regexp.QuoteMeta(string(after[at:m[0]])))
		pattern.WriteString(`.*?`)
		at = m[1]
	}
	pattern.WriteString(regexp.QuoteMeta(string(after[at:])) + `\z`)
	matcher, err := regexp.Compile(pattern.String())
	if err != nil {
		return // too large for a pattern
	}
	require.True(t, matcher.Match(before), "other bytes changed:\n%q\n%q", before, after)
}

// corpus is every file of the golden directories.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir("../testdata", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(name, string(filepath.Separator)+"in"+string(filepath.Separator)) {
			return err
		}
		content, err := os.ReadFile(name)
		files[name] = content
		return err
	})
	require.NoError(t, err)
	return files
}

// TestOnlyImagesChange writes every golden file in other ways that mean the same.
func TestOnlyImagesChange(t *testing.T) {
	writings := map[string]func(string) string{
		"as it is":         func(s string) string { return s },
		"CRLF":             func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n") },
		"CR":               func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r") },
		"byte order mark":  func(s string) string { return "\xef\xbb\xbf" + strings.TrimPrefix(s, "\xef\xbb\xbf") },
		"no final newline": func(s string) string { return strings.TrimRight(s, "\r\n") },
		"blank lines":      func(s string) string { return s + "\n\n" },
		"comments":         func(s string) string { return strings.ReplaceAll(s, "\n", " # shop/vote:1 größer\t😀\n") },
		"two documents":    func(s string) string { return s + "\n---\n" + s },
		"marked":           func(s string) string { return "---\n" + s + "\n...\n" },
		"other quotes":     func(s string) string { return strings.ReplaceAll(s, `"`, `'`) },
		"next-line breaks": func(s string) string { return strings.ReplaceAll(s, "# keep", "# \u2028# \u0085# keep") },
		"tabs":             func(s string) string { return strings.ReplaceAll(s, ": ", ":\t") },
	}
	for file, content := range corpus(t) {
		for how, write := range writings {
			t.Run(how+"/"+file, func(t *testing.T) {
				assertOnlyImagesChange(t, filepath.Base(file), []byte(write(string(content))))
			})
		}
	}
}

func FuzzSet(f *testing.F) {
	names := []string{"deployment.yaml", "kustomization.yaml", "values.yaml", "pod.json", ".argocd-source-vote.yaml"}
	for file, content := range corpus(f) {
		for i, name := range names {
			if name == filepath.Base(file) {
				f.Add(i, content)
			}
		}
		f.Add(0, content)
	}
	f.Fuzz(func(t *testing.T, name int, content []byte) {
		if len(content) > 4096 {
			return
		}
		assertOnlyImagesChange(t, names[(name%len(names)+len(names))%len(names)], content)
	})
}

// FuzzPin adds an image to a kustomization: whatever else stands there must be what it was.
func FuzzPin(f *testing.F) {
	for file, content := range corpus(f) {
		if IsKustomization(file) {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		w, err := propertyTarget.Wanted()
		require.NoError(t, err)
		r, err := Apply("kustomization.yaml", "kustomization.yaml", content, w, Setting{Pins: []string{"pinned/vote", "pinned/other"}})
		if err != nil {
			return // refused: nothing was changed
		}
		var after map[string]any
		if yaml.Unmarshal(r.Content, &after) != nil {
			return // keys that stand twice, which kustomize refuses as well
		}
		list, _ := after["images"].([]any)
		names := map[string]any{}
		for _, item := range list {
			if entry, ok := item.(map[string]any); ok {
				names[fmt.Sprint(entry["name"])] = entry["newName"]
			}
		}
		for _, name := range []string{"pinned/vote", "pinned/other"} {
			require.Equal(t, w.image.Repository, names[name])
		}
		before, now := decode(t, content), decode(t, r.Content)
		require.Len(t, now, len(before))
		for i, key := range before[0].Content[0].Content {
			if i%2 == 0 && key.Value != "images" {
				assertSameBut(t, before[0].Content[0].Content[i+1], value(now[0].Content[0], key.Value), true)
			}
		}
	})
}

// FuzzReference checks that a reference which is accepted is put together again as it was.
func FuzzReference(f *testing.F) {
	for _, s := range []string{propertyImage, "localhost:5000/x", "redis:8", "a/b@sha256:" + strings.Repeat("0", 64), "[::1]:5000/x:1", "x:5000/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseTarget(s); err == nil {
			require.Equal(t, s, r.String())
		}
	})
}
