package forge

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/git"
)

// Review is what somebody says about a run or a pull request.
type Review struct {
	User    string
	Time    time.Time // zero where the host does not say it
	Comment string
}

// RunReviews are the reviews of a run of GitHub Actions for one environment.
type RunReviews struct{ Approved, Rejected []Review }

// Reviewed is a pull request that was merged, with its reviews. Of each person, the last review that decides is taken.
type Reviewed struct {
	URL, Author string
	Approved    []Review
	// Against are those who may write to the repository and ask for changes.
	Against []Review
	// Ignored are approvals that do not count, each with the reason.
	Ignored []string
}

// TokenPermissions are what reading reviews needs.
const TokenPermissions = "actions: read and pull-requests: read"

// Reviewer reads reviews. GitHub and GitHub Enterprise are supported.
type Reviewer struct{ hub *gitHub }

// ReviewsOn returns the reviewer for a repository.
func ReviewsOn(ctx context.Context, remote git.Remote) (Reviewer, error) {
	if host := unsupported(remote); host != "" {
		return Reviewer{}, fault.Usagef("%s is on %s, whose reviews aksflow does not read: ask for signed approvals (gates.approve.signed) in place of reviews", remote.URL, host)
	}
	hub, err := openGitHub(ctx, remote)
	if err == nil && hub.client == nil {
		err = fault.Usagef("reading reviews on %s needs a token: set GITHUB_TOKEN (env: GITHUB_TOKEN: ${{ github.token }}), with permissions %s", remote.URL, TokenPermissions)
	}
	return Reviewer{hub}, err
}

// Run returns the reviews of a run for an environment.
// https://docs.github.com/en/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run
func (r Reviewer) Run(ctx context.Context, id, environment string) (*RunReviews, error) {
	g := r.hub
	call, err := g.client.NewRequest(ctx, http.MethodGet, fmt.Sprintf("repos/%s/%s/actions/runs/%s/approvals", g.owner, g.name, id), nil)
	if err != nil {
		return nil, err
	}
	var history []struct {
		State, Comment string
		Environments   []struct{ Name string }
		User           struct{ Login string }
	}
	if _, err := g.client.Do(call, &history); err != nil {
		return nil, g.explain("read the approvals of run "+id, err, TokenPermissions)
	}
	found := &RunReviews{}
	for _, h := range history {
		// GitHub compares the names of environments without regard to case.
		if !slices.ContainsFunc(h.Environments, func(e struct{ Name string }) bool { return strings.EqualFold(e.Name, environment) }) {
			continue
		}
		review := Review{User: h.User.Login, Comment: h.Comment}
		switch h.State {
		case "approved":
			found.Approved = append(found.Approved, review)
		case "rejected":
			found.Rejected = append(found.Rejected, review)
		}
	}
	return found, nil
}

// PullRequests returns the pull requests that brought a commit, merged, with their reviews: that of a feature, and that of a
// release that has it. Only approvals of what was merged count, by others than its author who may write to the repository.
func (r Reviewer) PullRequests(ctx context.Context, commit string) ([]Reviewed, error) {
	g := r.hub
	var all []Reviewed
	for request, err := range g.client.PullRequests.ListPullRequestsWithCommitIter(ctx, g.owner, g.name, commit, &github.ListOptions{PerPage: 100}) {
		if err != nil {
			return nil, g.explain(fmt.Sprintf("find the pull request of %.12s", commit), err, TokenPermissions)
		}
		if request.MergedAt == nil {
			continue
		}
		found, err := g.reviews(ctx, request)
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	return all, nil
}

// reviews reads the reviews of a pull request.
func (g *gitHub) reviews(ctx context.Context, request *github.PullRequest) (Reviewed, error) {
	found := Reviewed{URL: request.GetHTMLURL(), Author: request.GetUser().GetLogin()}
	last := map[string]*github.PullRequestReview{}
	for review, err := range g.client.PullRequests.ListReviewsIter(ctx, g.owner, g.name, request.GetNumber(), &github.ListOptions{PerPage: 100}) {
		if err != nil {
			return found, g.explain(fmt.Sprintf("read the reviews of pull request %d", request.GetNumber()), err, TokenPermissions)
		}
		user := review.GetUser().GetLogin() // "" for accounts that are gone
		if user != "" && slices.Contains([]string{"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}, review.GetState()) {
			last[user] = review // they come in the order of time
		}
	}
	err := g.weigh(ctx, &found, request.GetHead().GetSHA(), last)
	return found, err
}

// weigh sorts reviews into those that count and those that do not.
func (g *gitHub) weigh(ctx context.Context, found *Reviewed, head string, last map[string]*github.PullRequestReview) error {
	for user, review := range last {
		if review.GetState() == "DISMISSED" {
			found.Ignored = append(found.Ignored, fmt.Sprintf("that of %s was dismissed", user))
			continue
		}
		if strings.EqualFold(user, found.Author) {
			found.Ignored = append(found.Ignored, fmt.Sprintf("%s is its author", user))
			continue
		}
		writes, err := g.mayWrite(ctx, user)
		if err != nil {
			return err
		}
		one := Review{User: user, Time: review.GetSubmittedAt().Time, Comment: review.GetBody()}
		switch {
		case !writes:
			found.Ignored = append(found.Ignored, fmt.Sprintf("%s may not write to the repository", user))
		case review.GetState() == "CHANGES_REQUESTED":
			found.Against = append(found.Against, one)
		case review.GetCommitID() != head:
			found.Ignored = append(found.Ignored, fmt.Sprintf("that of %s is for %.12s, and %.12s was merged", user, review.GetCommitID(), head))
		default:
			found.Approved = append(found.Approved, one)
		}
	}
	byUser := func(a, b Review) int { return strings.Compare(a.User, b.User) }
	slices.SortFunc(found.Approved, byUser)
	slices.SortFunc(found.Against, byUser)
	slices.Sort(found.Ignored)
	return nil
}

// mayWrite reports whether a user may write to the repository. On a public one, anybody may review.
func (g *gitHub) mayWrite(ctx context.Context, user string) (bool, error) {
	level, _, err := g.client.Repositories.GetPermissionLevel(ctx, g.owner, g.name, user)
	if err != nil {
		return false, g.explain("read what "+user+" may do", err, TokenPermissions)
	}
	return slices.Contains([]string{"admin", "maintain", "write"}, level.GetPermission()), nil
}
