package flow

import (
	"net/http"
	"strings"
	"testing"

	gitconfig "github.com/go-git/go-git/v5/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// in runs in a job of GitHub Actions on a hub.
func in(h *gittest.Hub, change func(map[string]string)) func(*Request) {
	variables := map[string]string{
		"GITHUB_SERVER_URL": h.URL, "GITHUB_REPOSITORY": "team/vote", "GITHUB_RUN_ID": "7", "GITHUB_TOKEN": gittest.Token,
	}
	change(variables)
	return func(r *Request) {
		r.Variables = func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	}
}

func asItIs(map[string]string) {}

func TestAGitHubEnvironmentApproves(t *testing.T) {
	c := newChain(t, ", gates: {approve: {github: prod}}")
	h := gittest.NewHub(t)
	c.deployed()
	_, err := c.promote(none)
	require.ErrorContains(t, err, "approve: 0 of 1: this is no run of GitHub Actions: deliver in a job with `environment: prod`")
	_, err = c.promote(in(h, func(v map[string]string) { delete(v, "GITHUB_TOKEN") }))
	require.ErrorContains(t, err, "gates.approve.github: reading reviews on "+h.URL+"/team/vote needs a token: set GITHUB_TOKEN")

	review := func(state, environment string) map[string]any {
		return map[string]any{"state": state, "environments": []map[string]any{{"name": environment}}, "user": map[string]any{"login": "ann"}, "comment": "looked at it"}
	}
	const path = "repos/team/vote/actions/runs/7/approvals"
	h.Answers[path] = []map[string]any{review("approved", "staging"), review("pending", "prod")}
	_, err = c.promote(in(h, asItIs))
	require.ErrorContains(t, err, "approve: 0 of 1: the reviewers of GitHub's environment prod approve "+h.URL+"/team/vote/actions/runs/7, whose job must have `environment: prod`")
	h.Answers[path] = []map[string]any{review("approved", "prod"), review("rejected", "prod")}
	_, err = c.promote(in(h, asItIs))
	require.ErrorContains(t, err, "ann rejected this run (looked at it): start another")
	h.Answers[path] = http.StatusForbidden
	_, err = c.promote(in(h, asItIs))
	require.ErrorContains(t, err, "whether production may get the image is not known: gates.approve.github: team/vote: cannot read the approvals of run 7")
	assert.Empty(t, c.running["production"].Image)

	h.Answers[path] = []map[string]any{review("approved", "prod")}
	result, err := c.promote(in(h, asItIs))
	require.NoError(t, err)
	assert.Equal(t, "approved by ann: looked at it", result.Steps[0].Detail.(*delivery.Promoted).Gates[0].Message)
	assert.Contains(t, c.evidence["production"], "Gate approve | approved by ann: looked at it", "for the pull request")
}

func TestAReviewedPullRequestApproves(t *testing.T) {
	c := newChain(t, ", gates: {approve: {pullRequest: 2}, soak: 1ns, override: {by: [{key: on-call.pub}]}}")
	c.keys("on-call")
	h := gittest.NewHub(t)
	c.deployed()
	promote := func() (*Result, error) { return c.promote(in(h, asItIs)) }
	_, err := promote()
	require.ErrorContains(t, err, "is in no clone of a repository, so its pull requests are not known")
	_, err = c.repo.CreateRemote(&gitconfig.RemoteConfig{Name: "origin", URLs: []string{h.URL + "/team/vote.git"}})
	require.NoError(t, err)

	source, err := c.request(func(r *Request) { r.Env = "staging" }).source(t.Context())
	require.NoError(t, err)
	commits := "repos/team/vote/commits/" + source.Commit + "/pulls"
	h.Answers[commits] = []any{}
	_, err = promote()
	require.ErrorContains(t, err, "approve: 0 of 2: no pull request that was merged brought commit "+source.Commit[:12]+": merge it by one")

	request := func(number int, page string) map[string]any {
		return map[string]any{"number": number, "html_url": page, "user": map[string]any{"login": "cid"}, "head": map[string]any{"sha": "aaaa"}, "merged_at": "2026-11-26T12:00:00Z"}
	}
	review := func(user string) map[string]any {
		return map[string]any{"user": map[string]any{"login": user}, "state": "APPROVED", "commit_id": "aaaa"}
	}
	h.Answers[commits] = []any{request(1, "https://git/pull/1"), request(2, "https://git/pull/2")}
	h.Answers["repos/team/vote/pulls/1/reviews"] = []any{review("ann"), review("cid")}
	h.Answers["repos/team/vote/pulls/2/reviews"] = []any{}
	for _, user := range []string{"ann", "bob", "cid"} {
		h.Answers["repos/team/vote/collaborators/"+user+"/permission"] = map[string]any{"permission": "write"}
	}
	_, err = promote()
	require.ErrorContains(t, err, "approve: 1 of 2 (ann: https://git/pull/1): anybody but cid who may write to the repository approves https://git/pull/1 (what does not count: cid is its author)")
	assert.Empty(t, c.running["production"].Image)

	// In an emergency a git host that is down is no obstacle.
	h.Answers["repos/team/vote/pulls/2/reviews"] = http.StatusBadGateway
	_, err = promote()
	require.ErrorContains(t, err, "gates.approve.pullRequest: team/vote: cannot read the reviews of pull request 2")
	result, err := c.promote(func(r *Request) {
		in(h, asItIs)(r)
		r.Override, r.SignAs.Key = "the shop is down", "on-call.key"
	})
	require.NoError(t, err)
	assert.Contains(t, result.Steps[0].Detail.(*delivery.Promoted).Gates[1].Message, "0 of 2: it is not known: team/vote: cannot read")

	h.Answers["repos/team/vote/pulls/2/reviews"] = []any{review("ann"), review("bob")}
	result, err = promote()
	require.NoError(t, err)
	gates := result.Steps[0].Detail.(*delivery.Promoted).Gates
	assert.Equal(t, "approved by ann: https://git/pull/2, bob: https://git/pull/2", gates[len(gates)-1].Message)
	assert.False(t, strings.Contains(c.evidence["production"], "opened by"))
}
