package cli

import (
	"cmp"
	"context"
	"os"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

// decide finds the environment by the git ref, unless --env named one.
func (p *place) decide(ctx context.Context, ref string) (gitflow.Decision, error) {
	cfg, err := config.Load(p.g.config)
	if err != nil {
		return gitflow.Decision{}, err
	}
	decision, err := decideRef(cfg, ref)
	if err != nil {
		return decision, err
	}
	if p.env != "" {
		decision.Reason = "--env names it"
	} else {
		p.env = decision.Environment
	}
	if p.env == "" {
		return decision, fault.Usagef("%s; or name one with --env: %s", decision.Reason, enumerate(cfg.Names()))
	}
	report.Info(ctx, "environment %s: %s", p.env, decision.Reason)
	return decision, nil
}

// decideRef asks package gitflow about ref; by default the ref of the CI run, else that of the work tree.
func decideRef(cfg *config.Config, ref string) (gitflow.Decision, error) {
	head, commit, err := gitops.Head(cfg.Dir())
	if err != nil {
		return gitflow.Decision{}, err
	}
	// A CI run checks out a commit, not a branch. GitHub Actions and Azure Pipelines give full refs, Jenkins a name.
	ref = cmp.Or(ref, os.Getenv("GITHUB_REF"), os.Getenv("BUILD_SOURCEBRANCH"), os.Getenv("BRANCH_NAME"), head)
	return gitflow.Decide(cfg, ref, commit), nil
}
