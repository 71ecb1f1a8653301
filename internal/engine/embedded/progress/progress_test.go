package progress

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTail(t *testing.T) {
	var short, long Tail
	short.Add([]byte("abc"))
	assert.Equal(t, "abc", short.String())
	line := bytes.Repeat([]byte("x"), 1000)
	for range 1000 {
		long.Add(line)
	}
	long.Add([]byte("end"))
	assert.Len(t, long.String(), maxTail)
	assert.True(t, strings.HasSuffix(long.String(), "xend"))
}

func TestStepNames(t *testing.T) {
	assert.Equal(t, "sh -c set -e echo", shortened("sh -c set -e\n\techo\n"))
	long := shortened(strings.Repeat("ä", 500))
	assert.Equal(t, maxName+1, len([]rune(long)))
	assert.Equal(t, "0123456789ab", shortName("sha256:0123456789abcdef"))
	assert.Equal(t, "extracting x", shortName("extracting x"))
}
