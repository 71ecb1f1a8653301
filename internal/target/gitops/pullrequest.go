package gitops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-github/v88/github"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// DefaultPullRequestBody is the template of a request's text.
const DefaultPullRequestBody = `| file | from | to |
|---|---|---|
{{range .Changes}}| ` + "`{{.File}}:{{.Line}}`" + ` | {{with .From}}` + "`{{.}}`" + `{{else}}(not set){{end}} | ` + "`{{.To}}`" + ` |
{{end}}
{{with .SourceRevision}}Source: {{.}}
{{end}}{{with .PipelineRun}}Pipeline: {{.}}
{{end}}`

// githubAPI is the API's address for a git host.
func githubAPI(host string) string {
	if host == "github.com" || host == "ssh.github.com" {
		return "https://api.github.com/"
	}
	return "https://" + host + "/api/v3/"
}

// headBranch is the branch that a pull request is made from.
func (o BumpOptions) headBranch() string {
	if o.PullRequest.Branch != "" {
		return o.PullRequest.Branch
	}
	data := o.data(nil)
	return "aksflow/" + strings.Join(strings.FieldsFunc(data.Path+"/"+data.Name, func(r rune) bool {
		return r == '/' || r == '.' // no empty elements, and none that git reserves
	}), "/")
}

// propose rebuilds the head branch from the base and opens a pull request for it, or brings the open one up to date.
func (l *lander) propose(ctx context.Context, base *object.Commit, head plumbing.Hash, e *edit) (*Result, error) {
	result := &Result{Changes: e.changes, Branch: l.headBranch()}
	if result.Branch == l.base {
		return nil, fault.Usagef("the pull request's branch is %s, which is also the one to merge into: name another", l.base)
	}
	api, err := l.github(ctx)
	if err != nil {
		return nil, err
	}
	commit, made, err := l.writeCommit(base, e.files, e.message, l.Author, l.Signer)
	if err != nil {
		return nil, err
	}
	if same, err := l.sameChange(head, commit); err != nil {
		return nil, err
	} else if same {
		commit = head // reviews of it stay
	} else {
		l.pushes++
		if err := l.push(ctx, result.Branch, head, commit, made); err != nil {
			return nil, err
		}
	}
	result.Commit, result.Attempts = commit.String(), l.pushes
	result.PullRequest, err = api.open(ctx, l.BumpOptions, l.base, e)
	return result, err
}

// sameChange tells whether the head branch holds the very change already, on the same base.
func (l *lander) sameChange(head, commit plumbing.Hash) (bool, error) {
	if head.IsZero() {
		return false, nil
	}
	present, err := l.commit(head)
	if err != nil {
		return false, err
	}
	wanted, err := l.commit(commit)
	if err != nil {
		return false, err
	}
	return present.TreeHash == wanted.TreeHash && len(present.ParentHashes) == 1 &&
		present.ParentHashes[0] == wanted.ParentHashes[0], nil
}

// githubRepository is a repository on GitHub and a client for it.
type githubRepository struct {
	client      *github.Client
	owner, name string
	graphql     string // its address
}

func (l *lander) github(ctx context.Context) (*githubRepository, error) {
	r := &githubRepository{owner: l.PullRequest.Owner, name: l.PullRequest.Name}
	if r.owner == "" || r.name == "" {
		parts := strings.Split(strings.TrimSuffix(strings.Trim(l.endpoint.Path, "/"), ".git"), "/")
		if len(parts) != 2 {
			return nil, fault.Usagef("%s names no GitHub repository: pull requests need https://HOST/OWNER/NAME", l.url)
		}
		r.owner, r.name = parts[0], parts[1]
	}
	baseURL := l.PullRequest.BaseURL
	if baseURL == "" {
		baseURL = githubAPI(l.endpoint.Host)
	}
	if !strings.HasSuffix(baseURL, "/") {
		baseURL += "/"
	}
	r.graphql = strings.TrimSuffix(baseURL, "v3/") + "graphql" // Enterprise Server has it beside v3
	client, err := httpClient(l.Remote.Dial, l.Remote.CABundle)
	if err != nil {
		return nil, err
	}
	token := l.token
	if l.app != nil {
		if token, err = l.app.token(ctx, client.Transport, baseURL); err != nil {
			return nil, err
		}
	}
	if token == "" {
		return nil, fault.Usagef("a pull request on %s needs a token or a GitHub App, and neither is given", baseURL)
	}
	r.client, err = github.NewClient(github.WithHTTPClient(client), github.WithURLs(&baseURL, &baseURL), github.WithAuthToken(token))
	if err != nil {
		return nil, fault.Usagef("the GitHub API's URL %q is not valid: %w", baseURL, err)
	}
	return r, nil
}

// open opens the pull request, or updates the one that is open for the branch, and returns its URL.
func (r *githubRepository) open(ctx context.Context, o BumpOptions, base string, e *edit) (string, error) {
	head, ask := o.headBranch(), o.PullRequest
	title, _, _ := strings.Cut(e.message, "\n")
	body := DefaultPullRequestBody
	if ask.Body != "" {
		body = ask.Body
	}
	data := o.data(e.changes)
	data.Branch = base
	body, err := fill("pull request body", body, data)
	if err != nil {
		return "", err
	}
	if ask.Title != "" {
		if title, err = fill("pull request title", ask.Title, data); err != nil {
			return "", err
		}
	}
	existing, _, err := r.client.PullRequests.List(ctx, r.owner, r.name, &github.PullRequestListOptions{
		State: "open", Head: r.owner + ":" + head, Base: base,
	})
	if err != nil {
		return "", r.explain("list the pull requests", err)
	}
	var request *github.PullRequest
	switch {
	case len(existing) == 0:
		request, _, err = r.client.PullRequests.Create(ctx, r.owner, r.name, &github.NewPullRequest{
			Title: &title, Head: &head, Base: &base, Body: &body,
		})
		if err != nil {
			return "", r.explain("open a pull request", err)
		}
	case existing[0].GetTitle() != title || existing[0].GetBody() != body:
		request, _, err = r.client.PullRequests.Edit(ctx, r.owner, r.name, existing[0].GetNumber(), &github.PullRequest{Title: &title, Body: &body})
		if err != nil {
			return "", r.explain("update the pull request", err)
		}
	default:
		request = existing[0]
	}
	if missing := missingLabels(request, ask.Labels); len(missing) > 0 {
		if _, _, err := r.client.Issues.AddLabelsToIssue(ctx, r.owner, r.name, request.GetNumber(), missing); err != nil {
			return "", r.explain("label the pull request", err)
		}
	}
	if ask.AutoMerge != "" && request.GetAutoMerge() == nil {
		if err := r.autoMerge(ctx, request, ask.AutoMerge); err != nil {
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

// autoMerge asks GitHub to merge when the branch's rules are met. The REST API cannot, so this one call is GraphQL; a
// request that could be merged at once is refused by it, and is merged.
func (r *githubRepository) autoMerge(ctx context.Context, request *github.PullRequest, method string) error {
	switch method {
	case "merge", "squash", "rebase":
	default:
		return fault.Usagef("auto-merge %q is not known: want merge, squash or rebase", method)
	}
	query := map[string]any{
		"query": `mutation($id: ID!, $method: PullRequestMergeMethod!) {
	enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $method}) { clientMutationId }
}`,
		"variables": map[string]string{"id": request.GetNodeID(), "method": strings.ToUpper(method)},
	}
	call, err := r.client.NewRequest(ctx, http.MethodPost, r.graphql, query)
	if err != nil {
		return r.explain("turn on auto-merge", err)
	}
	var answer struct {
		Errors []struct{ Message string }
	}
	if _, err := r.client.Do(call, &answer); err != nil {
		return r.explain("turn on auto-merge", err)
	}
	if len(answer.Errors) == 0 {
		return nil
	}
	if strings.Contains(answer.Errors[0].Message, "clean status") {
		_, _, err := r.client.PullRequests.Merge(ctx, r.owner, r.name, request.GetNumber(), "", &github.PullRequestOptions{MergeMethod: method})
		if err != nil {
			return r.explain("merge the pull request", err)
		}
		return nil
	}
	return fmt.Errorf("%s/%s: auto-merge of pull request %d is refused: %s: allow auto-merge in the repository's settings",
		r.owner, r.name, request.GetNumber(), answer.Errors[0].Message)
}

// explain says what an error of the API means.
func (r *githubRepository) explain(doing string, err error) error {
	var refused *github.ErrorResponse
	var limited *github.RateLimitError
	var urlErr *url.Error
	switch {
	case errors.As(err, &limited):
		return fmt.Errorf("%s/%s: cannot %s: GitHub's rate limit is used up until %s", r.owner, r.name, doing, limited.Rate.Reset.Format("15:04:05"))
	case errors.As(err, &refused) && refused.Response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s/%s: cannot %s: GitHub refuses the token", r.owner, r.name, doing)
	case errors.As(err, &refused) && (refused.Response.StatusCode == http.StatusForbidden || refused.Response.StatusCode == http.StatusNotFound):
		return fmt.Errorf("%s/%s: cannot %s: %s: give the token the permissions contents and pull requests: write", r.owner, r.name, doing, refused.Message)
	case errors.As(err, &refused):
		said := refused.Message
		for _, detail := range refused.Errors {
			said += "; " + detail.Message
		}
		err = fmt.Errorf("%s/%s: cannot %s: %s", r.owner, r.name, doing, said)
		if refused.Response.StatusCode >= 500 {
			return temporaryError{err}
		}
		return err
	case errors.As(err, &urlErr):
		return temporaryError{fmt.Errorf("%s/%s: cannot %s: %w", r.owner, r.name, doing, urlErr.Err)}
	}
	return fmt.Errorf("%s/%s: cannot %s: %w", r.owner, r.name, doing, err)
}
