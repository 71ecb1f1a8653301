package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/localplatform"
)

// Each verb has its page, and the same program writes the same pages.
func TestMan(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "man1"), t.TempDir()
	for _, dir := range []string{first, second} {
		stdout, stderr, code := execute(t, "man", dir)
		require.Zero(t, code, stderr)
		assert.Contains(t, stdout, "pages in "+dir)
	}
	root := newRoot(&globals{})
	for _, verb := range root.Commands() {
		name := "aksflow-" + verb.Name() + ".1"
		if verb.Hidden || verb.Name() == "help" {
			continue
		}
		page, err := os.ReadFile(filepath.Join(first, name))
		if !assert.NoError(t, err) {
			continue
		}
		assert.Contains(t, string(page), verb.Short)
		again, err := os.ReadFile(filepath.Join(second, name))
		require.NoError(t, err)
		assert.Equal(t, string(page), string(again), name)
	}

	_, stderr, code := execute(t, "man", filepath.Join(first, "aksflow.1", "below-a-file"))
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "aksflow.1")
}

func TestPrune(t *testing.T) {
	state := t.TempDir()
	write := func(name string) string {
		name = filepath.Join(state, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, make([]byte, 1<<20), 0o644))
		return name
	}
	cache, layer, registry := write("engine/cache/a"), write("layers/b"), write("platform/registry/c")
	prune := func(want int, args ...string) (r pruneResult, stderr string) {
		t.Helper()
		stdout, stderr, code := execute(t, append([]string{"prune", "--state", state, "--output", "json"}, args...)...)
		require.Equal(t, want, code, stderr)
		require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
		return r, stderr
	}

	r, stderr := prune(0)
	assert.False(t, r.Deleted)
	assert.EqualValues(t, 2<<20, r.Bytes)
	assert.Contains(t, stderr, "--yes deletes 2.0 MiB")
	assert.FileExists(t, cache)

	r, _ = prune(0, "layers", "--yes")
	assert.True(t, r.Deleted)
	assert.EqualValues(t, 1<<20, r.Bytes)
	assert.NoFileExists(t, layer)
	assert.FileExists(t, cache)
	prune(0, "--yes")
	assert.NoFileExists(t, cache)
	assert.FileExists(t, registry, "the local platform goes only when it is named")

	_, stderr = prune(2, "caches")
	assert.Contains(t, stderr, `"caches"`)
	assert.Contains(t, stderr, "want engine, layers, platform")

	platform, err := localplatform.OpenState(filepath.Join(state, "platform"))
	require.NoError(t, err)
	running := flock.New(platform.LockFile())
	require.NoError(t, running.Lock())
	_, stderr = prune(2, "platform", "--yes")
	assert.Contains(t, stderr, "`aksflow down`")
	assert.FileExists(t, registry, "a platform that runs, or starts, stays")
	require.NoError(t, running.Unlock())
	prune(0, "platform", "--yes")
	assert.NoFileExists(t, registry)
}
