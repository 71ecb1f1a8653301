package rollout

import (
	"context"
	"errors"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// following runs do, and meanwhile scales the second version with the first one, which an autoscaler scales. The
// autoscaler counts the pods of both, since both have the labels that it selects, so that the first version always has
// the pods that all of the requests need.
func (p *Rollout) following(ctx context.Context, do func(context.Context) error) error {
	if !p.deployment.Autoscaled {
		return do(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.follow(ctx); err != nil {
			cancel(err)
		}
	}()
	err := do(ctx)
	cancel(nil)
	<-done // it must not bring back what is about to be removed
	return err
}

// follow returns when ctx ends, or when the second version cannot be scaled.
func (p *Rollout) follow(ctx context.Context) error {
	first := p.deployment.Live
	for ctx.Err() == nil {
		now, err := p.cluster.Get(ctx, first.GroupVersionKind(), first.GetNamespace(), first.GetName())
		if err == nil && now == nil {
			err = errors.New("it was deleted by someone else")
		}
		if err == nil {
			err = p.resizeFor(ctx, plan.Replicas(now))
		}
		if err == nil {
			err = p.cluster.AwaitChange(ctx, now)
		}
		if err != nil && ctx.Err() == nil {
			return kube.Explain("following the pods of "+p.deployment.Ref().String(), err)
		}
	}
	return nil
}

// resizeFor gives the second Deployment the number of pods that matches stable pods of the first one.
func (p *Rollout) resizeFor(ctx context.Context, stable int64) error {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	was := p.replicas()
	p.stable = stable
	if p.percent == 0 || p.replicas() == was {
		return nil
	}
	report.Info(ctx, "%s has %d pods now, and the new version beside it %d", p.deployment.Ref(), stable, p.replicas())
	return p.applySized(ctx)
}
