package build_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/files"
	"github.com/aksflow/aksflow/internal/core/config"
)

// source writes a source tree as a clone has it: with its own times and umask.
func source(t *testing.T, dockerfile string, umask os.FileMode, at time.Time) string {
	t.Helper()
	root := t.TempDir()
	dirs := []string{"d/e", "d", "."}
	for _, dir := range dirs {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	for name, mode := range map[string]os.FileMode{"Dockerfile": 0o666, "a": 0o666, "b": 0o777, "d/c": 0o666, "d/e/f": 0o666} {
		path := filepath.Join(root, name)
		content := "content of " + name
		if name == "Dockerfile" {
			content = dockerfile
		}
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chmod(path, mode&^umask))
		require.NoError(t, os.Chtimes(path, at, at))
	}
	for _, dir := range dirs {
		require.NoError(t, os.Chmod(filepath.Join(root, dir), 0o777&^umask))
		require.NoError(t, os.Chtimes(filepath.Join(root, dir), at, at))
	}
	return root
}

// oneDigest: clones with other times and another umask are one image, and each engine makes the same one.
func (s *suite) oneDigest(t *testing.T) {
	ctx := t.Context()
	app := func(root string) (app build.App, done func() error) {
		cfg, err := config.Parse("aksflow.yaml", []byte("app: one\nbuild: {platform: linux/amd64, args: {BASE: \""+s.base+"\"}}\n"))
		require.NoError(t, err)
		dir, done, err := files.Canonical(ctx, root, "Dockerfile")
		require.NoError(t, err)
		text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
		require.NoError(t, err)
		return build.New(cfg, build.Inputs{Client: s.client, Dir: s.client.Host().Directory(dir), Dockerfile: text}), done
	}
	digest := func(root string) string {
		app, done := app(root)
		defer func() { require.NoError(t, done()) }()
		digest, err := app.Export(ctx, filepath.Join(t.TempDir(), "image.tar"), nil)
		require.NoError(t, err)
		return digest
	}
	const files = "WORKDIR /app\nCOPY a b ./\nCOPY --chmod=640 --chown=5:6 d /d/\nENV A=1\nLABEL x=y\nCOPY d .\nCOPY --from=other /b /b2\n"
	const scratch = "FROM scratch AS other\nCOPY b /\nFROM scratch\n" + files
	// The digest depends on nothing but the source: not on the base image, which is made of today's packages.
	const want = "sha256:9c7604adc5e4fc46151c75309941a55e94ef4db612a0f6a316d9dbbf746b48e8"
	assert.Equal(t, want, digest(source(t, scratch, 0o022, time.Now())), "another engine, or another version of this one, made another image")
	assert.Equal(t, want, digest(source(t, scratch, 0o077, time.Unix(1000000000, 0))))

	// What ARG declares is not in the environment of an image, and a directory of a user is one layer.
	const arguments = "FROM scratch\nMAINTAINER ann\nARG LEVEL=1 KEPT=2\nENV KEPT=$KEPT\nCOPY a /\n" +
		"USER 5:6\nWORKDIR /app\nCOPY --chown=5:6 a b g/\nUSER 0\nWORKDIR sub\n"
	const wantArguments = "sha256:1e89a8fef252f45d4e9ce6d2ad4ca9e7720e0059a2a9cd9fd04a1719c667e15a"
	assert.Equal(t, wantArguments, digest(source(t, arguments, 0o022, time.Now())))
	declared, done := app(source(t, "ARG BASE\nFROM ${BASE}\nARG PATH=/nowhere\nARG LEVEL=1\nRUN true\n", 0o022, time.Now()))
	image, err := declared.Build(ctx)
	require.NoError(t, err)
	path, err := image.EnvVariable(ctx, "PATH")
	require.NoError(t, err)
	assert.Contains(t, path, "/usr/bin", "what the base image has stays")
	level, err := image.EnvVariable(ctx, "LEVEL")
	require.NoError(t, err)
	assert.Empty(t, level)
	require.NoError(t, done())

	onBase := "ARG BASE\nFROM scratch AS other\nCOPY b /\nFROM ${BASE}\n" + files + "RUN mkdir made && cp -r b made && rm /app/a\nCOPY a /tmp/\nWORKDIR /tmp\n"
	first := digest(source(t, onBase, 0o022, time.Now()))
	assert.Equal(t, first, digest(source(t, onBase, 0o077, time.Unix(1000000000, 0))))
}
