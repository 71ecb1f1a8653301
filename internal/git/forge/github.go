package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v88/github"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/git"
)

// gitHub is a repository on GitHub, GitHub Enterprise Cloud or GitHub Enterprise Server.
type gitHub struct {
	client      *github.Client
	owner, name string
	graphql     string // its address
}

// newGitHub opens a repository for pull requests.
func newGitHub(ctx context.Context, remote git.Remote) (*gitHub, error) {
	g, err := openGitHub(ctx, remote)
	if err == nil && g.client == nil {
		err = fault.Usagef("a pull request on %s needs a token or a GitHub App: name the token's variable in gitops.passwordEnv of aksflow.yaml, or with `aksflow bump --password-env`", remote.URL)
	}
	return g, err
}

// openGitHub opens a repository. It has no client where there is no token.
func openGitHub(ctx context.Context, remote git.Remote) (*gitHub, error) {
	path, err := remote.Repository()
	if err != nil {
		return nil, err
	}
	g := &gitHub{}
	var found bool
	if g.owner, g.name, found = strings.Cut(path, "/"); !found || strings.Contains(g.name, "/") {
		return nil, fault.Usagef("%s names no GitHub repository: want https://HOST/OWNER/NAME", remote.URL)
	}
	api, err := remote.GitHubAPI()
	if err != nil {
		return nil, err
	}
	g.graphql = strings.TrimSuffix(api, "v3/") + "graphql" // Enterprise Server has it beside v3
	_, token, err := remote.Token(ctx)
	if err != nil || token == "" {
		return g, err
	}
	g.client, err = github.NewClient(github.WithHTTPClient(remote.Network.Client()), github.WithURLs(&api, &api), github.WithAuthToken(token))
	if err != nil {
		return nil, fault.Usagef("the GitHub API's URL %q is not valid: %w", api, err)
	}
	return g, nil
}

// Propose implements Forge.
func (g *gitHub) Propose(ctx context.Context, r Request) (string, error) {
	existing, _, err := g.client.PullRequests.List(ctx, g.owner, g.name, &github.PullRequestListOptions{
		State: "open", Head: g.owner + ":" + r.Head, Base: r.Base,
	})
	if err != nil {
		return "", g.explain("list the pull requests", err, proposePermissions)
	}
	var request *github.PullRequest
	switch {
	case len(existing) == 0:
		request, _, err = g.client.PullRequests.Create(ctx, g.owner, g.name, &github.NewPullRequest{
			Title: &r.Title, Head: &r.Head, Base: &r.Base, Body: &r.Body,
		})
		if err != nil {
			return "", g.explain("open a pull request", err, proposePermissions)
		}
	case existing[0].GetTitle() != r.Title || existing[0].GetBody() != r.Body:
		request, _, err = g.client.PullRequests.Edit(ctx, g.owner, g.name, existing[0].GetNumber(), &github.PullRequest{Title: &r.Title, Body: &r.Body})
		if err != nil {
			return "", g.explain("update the pull request", err, proposePermissions)
		}
	default:
		request = existing[0]
	}
	if missing := missingLabels(request, r.Labels); len(missing) > 0 {
		if _, _, err := g.client.Issues.AddLabelsToIssue(ctx, g.owner, g.name, request.GetNumber(), missing); err != nil {
			return "", g.explain("label the pull request", err, proposePermissions)
		}
	}
	if r.AutoMerge != NoMerge && request.GetAutoMerge() == nil {
		if err := g.autoMerge(ctx, request, r.AutoMerge); err != nil {
			return "", err
		}
	}
	return request.GetHTMLURL(), nil
}

func missingLabels(request *github.PullRequest, labels []string) []string {
	var missing []string
	for _, label := range labels {
		found := false
		for _, present := range request.Labels {
			found = found || strings.EqualFold(present.GetName(), label)
		}
		if !found {
			missing = append(missing, label)
		}
	}
	return missing
}

// autoMerge asks GitHub to merge when the rules of the branch are met. Only the GraphQL API can. It refuses a request
// that can be merged at once, which is then merged.
func (g *gitHub) autoMerge(ctx context.Context, request *github.PullRequest, method Merge) error {
	query := map[string]any{
		"query": `mutation($id: ID!, $method: PullRequestMergeMethod!) {
	enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $method}) { clientMutationId }
}`,
		"variables": map[string]string{"id": request.GetNodeID(), "method": strings.ToUpper(string(method))},
	}
	call, err := g.client.NewRequest(ctx, http.MethodPost, g.graphql, query)
	if err != nil {
		return g.explain("turn on auto-merge", err, proposePermissions)
	}
	var answer struct {
		Errors []struct{ Message string }
	}
	if _, err := g.client.Do(call, &answer); err != nil {
		return g.explain("turn on auto-merge", err, proposePermissions)
	}
	if len(answer.Errors) == 0 {
		return nil
	}
	if strings.Contains(answer.Errors[0].Message, "clean status") {
		_, _, err := g.client.PullRequests.Merge(ctx, g.owner, g.name, request.GetNumber(), "", &github.PullRequestOptions{MergeMethod: string(method)})
		if err != nil {
			return g.explain("merge the pull request", err, proposePermissions)
		}
		return nil
	}
	return fmt.Errorf("%s/%s: GitHub refuses auto-merge of pull request %d: %s: allow auto-merge in the repository's settings",
		g.owner, g.name, request.GetNumber(), answer.Errors[0].Message)
}

// proposePermissions are what a token needs to propose a change.
const proposePermissions = "contents: write and pull requests: write"

// explain says what an error of the API means, and which permissions the token needs.
func (g *gitHub) explain(doing string, err error, permissions string) error {
	var refused *github.ErrorResponse
	var limited *github.RateLimitError
	var urlErr *url.Error
	switch {
	case errors.As(err, &limited):
		return fmt.Errorf("%s/%s: cannot %s: GitHub's rate limit is used up until %s", g.owner, g.name, doing, limited.Rate.Reset.Format("15:04:05"))
	case errors.As(err, &refused) && refused.Response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s/%s: cannot %s: GitHub refuses the token: check that it is right and not expired", g.owner, g.name, doing)
	case errors.As(err, &refused) && (refused.Response.StatusCode == http.StatusForbidden || refused.Response.StatusCode == http.StatusNotFound):
		return fmt.Errorf("%s/%s: cannot %s: %s: give the token the permissions %s", g.owner, g.name, doing, refused.Message, permissions)
	case errors.As(err, &refused):
		said := refused.Message
		for _, detail := range refused.Errors {
			said += "; " + detail.Message
		}
		err = fmt.Errorf("%s/%s: cannot %s: %s", g.owner, g.name, doing, said)
		if refused.Response.StatusCode >= http.StatusInternalServerError {
			return git.TransientError{Err: err}
		}
		return err
	case errors.As(err, &urlErr):
		return git.TransientError{Err: fmt.Errorf("%s/%s: cannot %s: %w", g.owner, g.name, doing, urlErr.Err)}
	}
	return fmt.Errorf("%s/%s: cannot %s: %w", g.owner, g.name, doing, err)
}
