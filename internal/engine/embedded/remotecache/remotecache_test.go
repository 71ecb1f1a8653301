package remotecache

import (
	"context"
	"errors"
	"strings"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/stretchr/testify/assert"
)

func TestReferences(t *testing.T) {
	assert.Equal(t, "127.0.0.1:5000/vote:cache-develop", ofStage("127.0.0.1:5000/vote:cache-develop", ""))
	assert.Equal(t, "127.0.0.1:5000/vote:cache-develop-unit-test", ofStage("127.0.0.1:5000/vote:cache-develop", "unit test"))
	long := ofStage("registry.example/vote:"+strings.Repeat("x", maxTag), "test")
	assert.Len(t, strings.TrimPrefix(long, "registry.example/vote:"), maxTag)
}

func TestImports(t *testing.T) {
	assert.Empty(t, New(Options{}).Imports("test"))
	assert.Equal(t, `[{"Type":"registry","Attrs":{"ref":"r/vote:a-test"}},{"Type":"registry","Attrs":{"ref":"r/vote:b-test"}}]`,
		New(Options{Imports: []string{"r/vote:a", "r/vote:b"}}).Imports("test"))
}

func TestEachBuildIsWrittenOnce(t *testing.T) {
	var written []string
	solve := func(_ context.Context, id string, exports []bkclient.CacheOptionsEntry) error {
		written = append(written, id+" "+exports[0].Attrs["ref"])
		return errors.New("no registry") // which is no failure
	}
	c := New(Options{Export: "r/vote:a"})
	for range 2 {
		c.Built("one", "")
		c.Write(t.Context(), solve)
		c.Wait()
	}
	c.Built("two", "test")
	c.Write(t.Context(), solve)
	c.Wait()
	assert.Equal(t, []string{"one r/vote:a", "two r/vote:a-test"}, written)

	readOnly := New(Options{Imports: []string{"r/vote:a"}})
	readOnly.Built("one", "")
	readOnly.Write(t.Context(), solve)
	readOnly.Wait()
	assert.Len(t, written, 2)
}
