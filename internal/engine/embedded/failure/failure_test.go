package failure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestExecErrorShowsADockerfileStepsOutput(t *testing.T) {
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	e := &ExecError{Cmd: []string{"sh", "-c", "x"}, ExitCode: 3, Stdout: lines.String(), Place: "Dockerfile:2"}
	text := e.Error()
	assert.Contains(t, text, "Dockerfile:2: ")
	assert.Contains(t, text, "exit code: 3")
	assert.Contains(t, text, "… 60 lines before these …\nline 60\n")
	assert.Contains(t, text, "line 99")
	e.Place = ""
	assert.NotContains(t, e.Error(), "line 99", "whoever ran a command asks for its output")
	assert.Contains(t, (&ExecError{Place: "Dockerfile:2"}).Error(), "printed nothing")
}

func TestPlainErrors(t *testing.T) {
	err := fmt.Errorf("failed to solve: rpc error: code = Unknown desc = failed to compute cache key: "+
		"failed to calculate checksum of ref abc::def: %w", context.DeadlineExceeded)
	assert.EqualError(t, Plain(err), "context deadline exceeded")
	assert.ErrorIs(t, Plain(err), context.DeadlineExceeded)
	err = errors.New(`failed to solve: process "/.aksflow/aksflow-shim exec -out /.aksflow/out -expect SUCCESS -- sh -c x -- y" did not complete successfully: no mount`)
	assert.EqualError(t, Plain(err), `process "sh -c x -- y" did not complete successfully: no mount`)
	same := errors.New("as it is")
	assert.Equal(t, same, Plain(same))
}
