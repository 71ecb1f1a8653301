// Package reviews reads from a git host who approved what is to be promoted.
package reviews

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/flow/access"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/git/forge"
)

// The variables that GitHub Actions sets for a run, and the one that a job gives its token in.
const (
	varGitHubServer     = "GITHUB_SERVER_URL"
	varGitHubRepository = "GITHUB_REPOSITORY"
	varGitHubRun        = "GITHUB_RUN_ID"
	varGitHubToken      = "GITHUB_TOKEN"
)

// Job is the run of CI that asks.
type Job struct {
	access.Source
	Network dial.Network
}

// reviewer reads reviews in a repository, with the job's token.
func (j Job) reviewer(ctx context.Context, address string) (forge.Reviewer, error) {
	remote := git.Remote{URL: address, Network: j.Network}
	if token := j.Secret(varGitHubToken); token != "" {
		remote.Access.Login = delivery.Login{Password: token}
	}
	return forge.ReviewsOn(ctx, remote)
}

// OfRun returns the approvals of the run of GitHub Actions that this process is a part of, for one of GitHub's environments.
func (j Job) OfRun(ctx context.Context, environment string) (gate.Approvals, error) {
	run, repository := j.Variable(varGitHubRun), j.Variable(varGitHubRepository)
	if run == "" || repository == "" {
		return gate.Approvals{How: fmt.Sprintf("this is no run of GitHub Actions: deliver in a job with `environment: %s`", environment)}, nil
	}
	page := strings.TrimSuffix(cmp.Or(j.Variable(varGitHubServer), "https://github.com"), "/") + "/" + repository
	reviewer, err := j.reviewer(ctx, page)
	if err != nil {
		return gate.Approvals{}, err
	}
	found, err := reviewer.Run(ctx, run, environment)
	if err != nil {
		return gate.Approvals{}, err
	}
	out := gate.Approvals{How: fmt.Sprintf("the reviewers of GitHub's environment %s approve %s/actions/runs/%s, whose job must have `environment: %s`; without required reviewers in the settings of the environment nobody is asked",
		environment, page, run, environment)}
	for _, r := range found.Approved {
		out.Given = append(out.Given, gate.Approval{By: r.User, Reason: r.Comment})
	}
	for _, r := range found.Rejected {
		out.Against = append(out.Against, fmt.Sprintf("%s rejected this run%s: start another", r.User, parenthesized(r.Comment)))
	}
	return out, nil
}

// OfCommit returns the approvals of the pull request that brought a commit: the one with the most, if there are several. dir
// is in a clone of the repository.
func (j Job) OfCommit(ctx context.Context, dir, commit string) (gate.Approvals, error) {
	address, _, err := git.Origin(dir)
	if err != nil {
		return gate.Approvals{}, err
	}
	if address == "" {
		return gate.Approvals{}, fault.Usagef("%s is in no clone of a repository, so its pull requests are not known: clone it from its git host", dir)
	}
	reviewer, err := j.reviewer(ctx, address)
	if err != nil {
		return gate.Approvals{}, err
	}
	all, err := reviewer.PullRequests(ctx, commit)
	if err != nil {
		return gate.Approvals{}, err
	}
	if len(all) == 0 {
		return gate.Approvals{How: fmt.Sprintf("no pull request that was merged brought commit %.12s: merge it by one", commit)}, nil
	}
	best := slices.MaxFunc(all, func(a, b forge.Reviewed) int {
		return cmp.Or(cmp.Compare(len(b.Against), len(a.Against)), cmp.Compare(len(a.Approved), len(b.Approved)))
	})
	out := gate.Approvals{Ignored: best.Ignored, How: fmt.Sprintf("anybody but %s who may write to the repository approves %s", best.Author, best.URL)}
	for _, r := range best.Approved {
		out.Given = append(out.Given, gate.Approval{By: r.User, Time: r.Time, Reason: best.URL})
	}
	for _, r := range best.Against {
		out.Against = append(out.Against, fmt.Sprintf("%s asks for changes in %s", r.User, best.URL))
	}
	return out, nil
}

// parenthesized is a text in parentheses behind another; "" for none.
func parenthesized(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
