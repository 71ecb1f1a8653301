package gitops

import (
	"context"
	"errors"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/target"
)

// healthTimeout is how long the operator may take to say that what runs is healthy.
const healthTimeout = 30 * time.Second

// Health implements target.Target: the operator is asked whether it applied the image and its pods are ready. Since when that
// is so, it does not tell.
func (t Target) Health(ctx context.Context, env *delivery.Environment, running target.Running) (target.Health, error) {
	image, err := ref.Parse(running.Image)
	if err != nil {
		return target.Health{}, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, healthTimeout, delivery.LimitError("within "+healthTimeout.String()))
	defer cancel()
	_, err = t.wait(limited, &delivery.State{Release: delivery.Release{Env: env, Image: image}}, target.Options{})
	reasons := delivery.Reasons(err)
	switch {
	case err == nil:
		return target.Health{Since: running.Since}, nil
	case errors.Is(err, context.DeadlineExceeded) || len(reasons) > 0 && reasons[0].Object != "":
		return target.Health{Problem: err.Error()}, nil
	}
	return target.Health{}, err
}
