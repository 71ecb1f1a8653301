package canonical_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// The command and the Dagger module compress with the same version of the library: another one makes other bytes. Layers that
// an earlier version compressed are not taken from the cache.
func TestOneCompressor(t *testing.T) {
	const root, library = "../../../../", "github.com/klauspost/compress"
	versions := map[string][]string{}
	for _, name := range []string{"go.mod", "internal/core/go.mod", "ci/go.mod"} {
		text, err := os.ReadFile(root + name)
		require.NoError(t, err)
		file, err := modfile.Parse(name, text, nil)
		require.NoError(t, err)
		version := "none"
		for _, r := range file.Require {
			if r.Mod.Path == library {
				version = r.Mod.Version
			}
		}
		versions[version] = append(versions[version], name)
	}
	assert.Len(t, versions, 1, "the versions of %s: an image would have one digest in the command and another in the module", library)
	cache, err := os.ReadFile("cache.go")
	require.NoError(t, err)
	for version := range versions {
		assert.Contains(t, string(cache), `const compressVersion = "`+version+`"`)
	}
}
