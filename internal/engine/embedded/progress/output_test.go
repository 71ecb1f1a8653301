package progress

import (
	"bytes"
	"strings"
	"testing"

	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/report"
)

// A line that comes in many parts is shown once, and costs no more than its length.
func TestLinesInParts(t *testing.T) {
	var lines []string
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) {
		if e.Kind == report.Log {
			lines = append(lines, e.Message)
		}
	}))
	w := (&Session{Hide: func(s string) string { return s }}).Watch(ctx)
	step := digest.FromString("step")
	add := func(text string, stream int) {
		w.Update(&bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{Vertex: step, Stream: stream, Data: []byte(text)}}})
	}
	add("a", 1)
	add("x", 2)
	add("b\nc\nd", 1)
	assert.Equal(t, []string{"ab", "c"}, lines)
	const parts, size = 20_000, 2_000
	part := string(bytes.Repeat([]byte("y"), size))
	for range parts {
		add(part, 2)
	}
	add("\n", 2)
	w.flush(w.known(step))
	assert.Equal(t, []string{"ab", "c", "x" + strings.Repeat(part, parts), "d"}, lines)
}
