package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

// rollback goes back in the environment, and withdraws the image that ran there.
func (d *Delivery) rollback(ctx context.Context, r delivery.Release, to string) (delivery.Outcome, error) {
	if !d.inChain() {
		return d.target.Rollback(ctx, r, to, d.Options)
	}
	running, err := d.target.Current(ctx, d.env)
	if err != nil {
		return delivery.Outcome{}, err
	}
	out, err := d.target.Rollback(ctx, r, to, d.Options)
	if err == nil && out.Status != delivery.Unchanged {
		d.withdraw(ctx, ref.Read(running.Image).Digest, "rolled back by "+d.User)
	}
	return out, err
}

// RollbackChain goes back in the environment and in all that its image was promoted to. An environment that runs another
// image by now stays as it is. It goes on when one fails.
func (d *Delivery) RollbackChain(ctx context.Context, to string) (*delivery.RolledBack, error) {
	env, err := d.Environment()
	if err != nil {
		return nil, err
	}
	running, err := d.target.Current(ctx, env)
	if err != nil {
		return nil, err
	}
	digest := ref.Read(running.Image).Digest
	result := &delivery.RolledBack{}
	var failures []error
	for _, name := range append([]string{env.Name}, d.config.After(env.Name)...) {
		other := d
		if name != env.Name {
			if other, err = d.sibling(ctx, name); err != nil {
				return result, err
			}
			to = ""
		}
		became, err := other.rollbackIf(ctx, digest, to)
		result.Environments = append(result.Environments, became)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
		}
	}
	return result, errors.Join(failures...)
}

// rollbackIf goes back in the environment if it runs an image.
func (d *Delivery) rollbackIf(ctx context.Context, digest, to string) (delivery.RolledBackEnvironment, error) {
	became := delivery.RolledBackEnvironment{Environment: d.env.Name, Target: d.env.Target}
	ctx, end := report.Start(ctx, "rollback "+d.env.Name)
	running, err := d.target.Current(ctx, d.env)
	if now := ref.Read(running.Image).Digest; err == nil && now != digest {
		became.Status, became.Message = delivery.Unchanged, fmt.Sprintf("it runs another image: %s", now)
		if now == "" {
			became.Message = "it runs nothing that was delivered by its digest"
		}
		end(became.Message, nil)
		return became, nil
	}
	var out delivery.Outcome
	if err == nil {
		out, err = d.rollback(ctx, d.release(delivery.Source{}), to)
	}
	end(out.Summary, err)
	became.Status, became.Message, became.Detail = out.Status, out.Summary, out.Detail
	switch {
	case err != nil:
		became.Status, became.Message = delivery.Failed, err.Error()
	case became.Status == "":
		became.Status = delivery.Done
	}
	return became, err
}
