package hostfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMerge(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "new")
	require.NoError(t, os.MkdirAll(filepath.Join(from, "sub"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(from, "sub", "f"), []byte("new"), 0o600))
	require.NoError(t, os.Symlink("sub/f", filepath.Join(from, "link")))
	require.NoError(t, os.MkdirAll(filepath.Join(to, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(to, "sub", "f"), []byte("old"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(to, "mine"), nil, 0o600))
	require.NoError(t, Merge(from, to))
	for name, want := range map[string]string{"sub/f": "new", "link": "new", "mine": ""} {
		got, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err, name)
		assert.Equal(t, want, string(got), name)
	}
}
