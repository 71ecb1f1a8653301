package manifest

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/NAME/want as the edits come out now")

// TestGolden edits testdata/NAME/in as testdata/NAME/case says and compares it with testdata/NAME/want, byte for byte.
// The file case has one "image", perhaps some "replace" and a "path", one + for each of the "changes" (default: one), a
// line for each text that is "remaining" and for the beginning of what is "unverified", perhaps "strict", and an "error" when
// the edit must be refused; then nothing may change. Every edit is made twice: the second must find nothing to do.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/case")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c := readCase(t, file)
			root := t.TempDir()
			require.NoError(t, os.CopyFS(root, os.DirFS(filepath.Join(dir, "in"))))
			require.NoError(t, os.Mkdir(filepath.Join(root, ".git"), 0o755)) // links may not leave it
			edit, err := SetDir(t.Context(), filepath.Join(root, c.path), c.target, Options{Build: testBuild, Strict: c.strict})
			want := filepath.Join(dir, "want")
			if *update && err == nil {
				require.NoError(t, os.RemoveAll(want))
				require.NoError(t, os.CopyFS(want, os.DirFS(root)))
				require.NoError(t, os.Remove(filepath.Join(want, ".git")))
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				want = filepath.Join(dir, "in")
			} else {
				require.NoError(t, err)
				assert.Len(t, edit.Changes, c.changes, "%v", edit.Changes)
				assert.Equal(t, c.remaining, lines(edit.Remaining, func(r Remaining) string { return fmt.Sprintf("%s:%d %s %s", r.File, r.Line, r.Key, r.Text) }))
				unverified := lines(edit.Unverified, func(u Unverified) string { return u.File + " " + u.Reason })
				require.Len(t, unverified, len(c.unverified), "%q", unverified)
				for i, u := range unverified {
					assert.True(t, strings.HasPrefix(u, c.unverified[i]), u)
				}
			}
			assertSameTree(t, want, root)
			if c.err != "" {
				return
			}
			again, err := SetDir(t.Context(), filepath.Join(root, c.path), c.target, Options{Build: testBuild})
			require.NoError(t, err)
			assert.Empty(t, again.Changes, "the second edit has nothing to do")
			assertSameTree(t, want, root)
		})
	}
}

type goldenCase struct {
	target    Target
	path, err string
	changes   int
	strict    bool

	remaining, unverified []string
}

func lines[T any](list []T, text func(T) string) []string {
	var out []string
	for _, item := range list {
		out = append(out, text(item))
	}
	return out
}

func readCase(t *testing.T, file string) goldenCase {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	c := goldenCase{path: ".", changes: 1}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "image":
			c.target.Image = value
		case "replace":
			c.target.Replace = append(c.target.Replace, value)
		case "path":
			c.path = value
		case "error":
			c.err = value
		case "strict":
			c.strict = true
		case "remaining":
			c.remaining = append(c.remaining, value)
		case "unverified":
			c.unverified = append(c.unverified, value)
		case "changes":
			c.changes = len(value)
		case "#", "":
		default:
			t.Fatalf("%s: unknown key %q", file, key)
		}
	}
	return c
}

func assertSameTree(t *testing.T, want, got string) {
	t.Helper()
	read := func(root string) map[string]string {
		files := map[string]string{}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				content, err = []byte("dangling"), nil
			}
			files[filepath.ToSlash(relative)] = string(content)
			return err
		})
		require.NoError(t, err)
		return files
	}
	wanted, present := read(want), read(got)
	assert.Len(t, present, len(wanted), "files are neither made nor lost")
	for name, content := range wanted {
		assert.Equal(t, content, present[name], name)
	}
}
