package gitops

import (
	"context"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/gitops/wait"
)

var _ target.Checker = Target{}

// Check implements target.Checker: the repository takes a push, and there is an operator that follows it.
func (t Target) Check(ctx context.Context, r delivery.Release, o target.Options) []delivery.Check {
	env := r.Env
	if env.Local != nil {
		return []delivery.Check{delivery.Passed("git repository", "a delivery makes it on the local platform, and tells the operator to follow it")}
	}
	pushed := delivery.NewCheck("git repository", "may push to "+env.GitOps.Branch+" of "+env.GitOps.Repo, remoteOf(env).CheckPush(ctx, env.GitOps.Branch))
	title, err := wait.FindOperator(ctx, t.waitOptions(env, o))
	return []delivery.Check{pushed, delivery.NewCheck("operator", title+" follows the repository", err)}
}
