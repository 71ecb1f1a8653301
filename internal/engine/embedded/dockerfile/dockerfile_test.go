package dockerfile

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIgnorePatterns(t *testing.T) {
	files := map[string]string{".dockerignore": "# all\n*.log\n!keep.log\n", "sub/D.dockerignore": "other\n"}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	got, err := IgnorePatterns("Dockerfile", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"*.log", "!keep.log"}, got)
	got, err = IgnorePatterns("sub/D", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"other"}, got, "a Dockerfile's own ignore file goes before the context's")
	got, err = IgnorePatterns("Dockerfile", func(string) ([]byte, error) { return nil, os.ErrNotExist })
	require.NoError(t, err)
	assert.Empty(t, got)
}
