package canonical

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the scan of a base gave is found again: it has no layer, and reading every base in each build takes a second or more.
func TestScanIsKept(t *testing.T) {
	c := cache{t.TempDir()}
	kept := kept{Epoch: 315532800, Directories: []string{"etc", "usr/bin"}}
	require.NoError(t, c.keep("base", kept, nil))
	found, ok := c.find("base")
	assert.True(t, ok)
	assert.Equal(t, kept, found)
}
