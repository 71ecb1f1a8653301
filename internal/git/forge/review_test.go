package forge_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/git/forge"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

type object = map[string]any

func reviewer(t *testing.T, h *gittest.Hub) forge.Reviewer {
	t.Helper()
	r, err := forge.ReviewsOn(t.Context(), git.Remote{URL: h.URL + "/team/vote.git", Access: delivery.GitAccess{Login: delivery.Login{Password: gittest.Token}}})
	require.NoError(t, err)
	return r
}

func TestRunReviews(t *testing.T) {
	h := gittest.NewHub(t)
	r := reviewer(t, h)
	review := func(state, environment, user string) object {
		return object{"state": state, "comment": "because", "environments": []object{{"name": environment}}, "user": object{"login": user}}
	}
	const path = "repos/team/vote/actions/runs/7/approvals"
	h.Answers[path] = []object{review("approved", "Production", "ann"), review("approved", "staging", "bob"), review("rejected", "production", "cid"), review("pending", "production", "dan")}
	found, err := r.Run(t.Context(), "7", "production")
	require.NoError(t, err)
	assert.Equal(t, &forge.RunReviews{
		Approved: []forge.Review{{User: "ann", Comment: "because"}}, Rejected: []forge.Review{{User: "cid", Comment: "because"}},
	}, found)

	_, err = r.Run(t.Context(), "8", "production")
	require.ErrorContains(t, err, "team/vote: cannot read the approvals of run 8: Not Found: give the token the permissions actions: read and pull-requests: read")
	h.Answers[path] = http.StatusUnauthorized
	_, err = r.Run(t.Context(), "7", "production")
	require.ErrorContains(t, err, "GitHub refuses the token")
	h.Answers[path] = http.StatusBadGateway
	_, err = r.Run(t.Context(), "7", "production")
	require.ErrorContains(t, err, "cannot read the approvals of run 7: Bad Gateway")
}

func TestPullRequestReviews(t *testing.T) {
	h := gittest.NewHub(t)
	r := reviewer(t, h)
	const repo = "repos/team/vote/"
	request := func(number int, merged string) object {
		o := object{"number": number, "html_url": "https://git/pull/1", "user": object{"login": "author"}, "head": object{"sha": "aaaa"}}
		if merged != "" {
			o["merged_at"] = merged
		}
		return o
	}
	review := func(user, state, commit string) object {
		return object{"user": object{"login": user}, "state": state, "commit_id": commit, "submitted_at": "2026-11-26T12:00:00Z"}
	}
	for user, may := range map[string]string{"ann": "write", "bob": "admin", "cid": "admin", "dan": "write", "eve": "read", "author": "admin", "fay": "write"} {
		h.Answers[repo+"collaborators/"+user+"/permission"] = object{"permission": may}
	}
	h.Answers[repo+"commits/c0ffee/pulls"] = []any{request(2, ""), request(3, ""), request(1, "2026-11-26T13:00:00Z")}
	h.Answers[repo+"pulls/1/reviews"] = []any{
		review("ann", "CHANGES_REQUESTED", "aaaa"), review("ann", "APPROVED", "aaaa"), review("ann", "COMMENTED", "aaaa"),
		review("bob", "APPROVED", "bbbb"), review("cid", "DISMISSED", "aaaa"), review("eve", "APPROVED", "aaaa"),
		review("author", "APPROVED", "aaaa"), review("dan", "APPROVED", "aaaa"), review("dan", "CHANGES_REQUESTED", "aaaa"),
		review("fay", "APPROVED", "aaaa"), object{"user": nil, "state": "APPROVED", "commit_id": "aaaa"},
	}
	all, err := r.PullRequests(t.Context(), "c0ffee")
	require.NoError(t, err)
	require.Len(t, all, 1, "those that are open brought nothing")
	found := all[0]
	assert.Equal(t, []string{"ann", "fay"}, users(found.Approved))
	assert.Equal(t, []string{"dan"}, users(found.Against))
	assert.Equal(t, []string{
		"author is its author", "eve may not write to the repository", "that of bob is for bbbb, and aaaa was merged", "that of cid was dismissed",
	}, found.Ignored)

	h.Answers[repo+"commits/decaf/pulls"] = []any{}
	all, err = r.PullRequests(t.Context(), "decaf")
	require.NoError(t, err)
	assert.Empty(t, all)
	h.Answers[repo+"collaborators/ann/permission"] = http.StatusForbidden
	_, err = r.PullRequests(t.Context(), "c0ffee")
	require.ErrorContains(t, err, "cannot read what ann may do: Forbidden: give the token the permissions actions: read and pull-requests: read")
	h.Answers[repo+"pulls/1/reviews"] = http.StatusInternalServerError
	_, err = r.PullRequests(t.Context(), "c0ffee")
	require.ErrorContains(t, err, "cannot read the reviews of pull request 1")
}

func users(reviews []forge.Review) []string {
	var names []string
	for _, r := range reviews {
		names = append(names, r.User)
	}
	return names
}

func TestWhereNoReviewsAreRead(t *testing.T) {
	_, err := forge.ReviewsOn(t.Context(), git.Remote{URL: "https://dev.azure.com/org/project/_git/vote"})
	require.ErrorContains(t, err, "is on Azure Repos, whose reviews aksflow does not read: ask for signed approvals (gates.approve.signed)")
	_, err = forge.ReviewsOn(t.Context(), git.Remote{URL: "https://github.com/team/vote"})
	require.ErrorContains(t, err, "needs a token: set GITHUB_TOKEN")
}
