package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAccepts(t *testing.T) {
	for code, want := range map[int]struct{ success, failure, any bool }{
		0:   {true, false, true},
		1:   {false, true, true},
		127: {false, true, true},
		128: {},
		137: {},
		191: {},
		192: {false, true, true},
		255: {false, true, true},
	} {
		assert.Equal(t, want.success, Success.Accepts(code), "SUCCESS %d", code)
		assert.Equal(t, want.failure, Failure.Accepts(code), "FAILURE %d", code)
		assert.Equal(t, want.any, Any.Accepts(code), "ANY %d", code)
	}
	assert.False(t, Any.Accepts(NeedServices))
	assert.False(t, Any.Accepts(UnexpectedSuccess))
}
