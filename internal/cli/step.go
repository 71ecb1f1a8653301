package cli

import (
	"context"

	"github.com/aksflow/aksflow/internal/core/report"
)

// step runs a verb that is a single step of the pipeline, and says how it ended.
func step[T any](ctx context.Context, name string, do func(context.Context) (value T, summary string, err error)) (T, error) {
	ctx, end := report.Start(ctx, name)
	value, summary, err := do(ctx)
	end(summary, err)
	return value, err
}
