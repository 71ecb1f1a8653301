package embedded

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/tool"
)

// A directory of links, as package managers make it, leads to the shim itself.
func TestFindShim(t *testing.T) {
	links, files := t.TempDir(), t.TempDir()
	t.Setenv(tool.Dir, links)
	t.Setenv("PATH", "")
	program := filepath.Join(files, shimName)
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, os.Symlink(program, filepath.Join(links, shimName)))
	found, err := findShim()
	require.NoError(t, err)
	assert.Equal(t, program, found)

	other := filepath.Join(files, shimName+"-1.2.3")
	require.NoError(t, os.Rename(program, other))
	require.NoError(t, os.Remove(filepath.Join(links, shimName)))
	require.NoError(t, os.Symlink(other, filepath.Join(links, shimName)))
	_, err = findShim()
	assert.ErrorContains(t, err, "the file itself has to be called aksflow-shim")
}
