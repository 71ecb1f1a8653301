package kustomize

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
)

func files(content map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range content {
		m[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: web:1}]}}}\n"

func TestBuildReadsTheFileSystem(t *testing.T) {
	fsys := files(map[string]string{
		"base/kustomization.yaml": "resources: [d.yaml]\n", "base/d.yaml": deployment,
		"o/kustomization.yaml": "bases: [../base]\nimages: [{name: web, newTag: '2'}]\nconfigMapGenerator: [{name: c, files: [../settings/a.txt]}]\n",
		"settings/a.txt":       "x", "kustomization.yaml": "resources: [o]\n",
	})
	for _, dir := range []string{"o", "."} {
		out, err := Build(t.Context(), fsys, dir)
		require.NoError(t, err, dir)
		assert.Contains(t, string(out), "image: web:2")
		assert.Contains(t, string(out), "a.txt: x")
	}
}

func TestWhatIsNotInTheFileSystemIsNotFetched(t *testing.T) {
	for kustomization, want := range map[string]string{
		"resources: ['https://example.com/a.yaml']":                           "names the remote https://example.com/a.yaml",
		"resources: ['github.com/example/config//base?ref=v1']":               "names the remote github.com/example",
		"resources: ['git@example.com:team/config.git']":                      "names the remote git@example.com",
		"resources: ['ssh://git@example.com/team/config']":                    "names the remote ssh://",
		"components: ['https://github.com/example/config//c']":                "names the remote https://",
		"resources: [../../outside]":                                          "which is outside of the repository",
		"configMapGenerator: [{name: c, files: ['x=https://example.com/x']}]": "names the remote https://example.com/x",
		"patches: [{path: 'https://example.com/p.yaml'}]":                     "names the remote https://example.com/p.yaml",
		"helmCharts: [{name: web, repo: 'https://example.com'}]":              "inflates Helm charts",
	} {
		_, err := Build(t.Context(), files(map[string]string{"o/kustomization.yaml": kustomization}), "o")
		require.ErrorIs(t, err, manifest.ErrNotRendered, kustomization)
		require.ErrorContains(t, err, want)
	}
	_, err := Build(t.Context(), files(map[string]string{"o/kustomization.yaml": "resources: [../base]"}), "o")
	require.ErrorContains(t, err, "o/kustomization.yaml names ../base, and there is no such file or directory")
	require.NotErrorIs(t, err, manifest.ErrNotRendered)
}

// TestGoldenDirectories edits the golden directories of package manifest as the command does, with this package as the
// judge. That package's own tests have a judge of their own, which reads the file system in another way.
func TestGoldenDirectories(t *testing.T) {
	const testdata = "../core/manifest/testdata"
	cases, err := filepath.Glob(testdata + "/*/case")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			var target manifest.Target
			at, refused, strict := ".", false, false
			for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
				switch key, value, _ := strings.Cut(lines.Text(), " "); key {
				case "image":
					target.Image = value
				case "replace":
					target.Replace = append(target.Replace, value)
				case "path":
					at = value
				case "strict":
					strict = true
				case "error":
					refused = true
				}
			}
			edit, err := manifest.Plan(t.Context(), os.DirFS(filepath.Join(dir, "in")), at, target, manifest.Options{Build: Build, Strict: strict})
			if refused {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			for _, f := range edit.Files {
				want, err := os.ReadFile(filepath.Join(dir, "want", f.Path))
				require.NoError(t, err)
				assert.Equal(t, string(want), string(f.Content), f.Path)
			}
		})
	}
}
