package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestExitCode(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, 0},
		{"a failed test", errors.New("2 tests failed"), 1},
		{"a wrong configuration, wrapped", fmt.Errorf("loading: %w", fault.Usagef("aksflow.yaml:3: unknown key")), 2},
		{"interrupted", fmt.Errorf("build: %w", context.Canceled), 130},
		{"a timeout is the pipeline's no", context.DeadlineExceeded, 1},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, fault.ExitCode(tc.err)) })
	}
	assert.NoError(t, fault.Usage(nil))
}
