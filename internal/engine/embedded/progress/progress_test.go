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
}

// The layers of an image are told together, in few texts.
func TestTransfers(t *testing.T) {
	var v Vertex
	texts := map[string]bool{}
	for n := range int64(100) {
		v.transferred("sha256:a", n*100_000, 10_000_000)
		texts[v.transfers()] = true
		v.transferred("sha256:b", n*300_000, 30_000_000)
		texts[v.transfers()] = true
	}
	assert.Contains(t, texts, "", "at the beginning")
	assert.Contains(t, texts, "50 % of 40.0 MB")
	assert.Less(t, len(texts), 25)
	v.transferred("sha256:a", 10_000_000, 10_000_000)
	v.transferred("sha256:b", 30_000_000, 30_000_000)
	assert.Equal(t, "100 % of 40.0 MB", v.transfers())
}
