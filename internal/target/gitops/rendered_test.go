package gitops

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// The text of a pull request says what speaks for the image and how the objects change, and is kept up to date.
func TestEvidenceOfAPullRequest(t *testing.T) {
	r := gittest.NewServer(t).Repo(t, "config", map[string]string{
		"apps/vote/deployment.yaml": gittest.Deployment("vote", "shop/vote"),
		"apps/vote/kustomization.yaml": "resources: [deployment.yaml]\nimages:\n- {name: shop/vote, newName: registry.example.com/shop/vote, newTag: \"1\"}\n" +
			"secretGenerator:\n- {name: redis, literals: [password=do-not-show]}\n",
	})
	h := newHub(t, r)
	o := options(r, "registry.example.com/shop/vote:2@"+gittest.Digest(2))
	o.Remote.URL = h.URL + "/shop/config.git"
	o.PullRequest = &PullRequest{}
	o.Check = manifest.Options{Build: kustomize.Build}
	o.Evidence = "| Tests | [passed: 42 passed](https://ci.example.com/7) |\n| Gate soak | healthy in staging for 12m of 30m |"
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	body := h.requests[0]["body"].(string)
	assert.Contains(t, body, "[passed: 42 passed](https://ci.example.com/7)")
	assert.Contains(t, body, "```diff\n--- before\n+++ after\n")
	assert.Contains(t, body, "-      - image: registry.example.com/shop/vote:1\n")
	assert.Contains(t, body, "+      - image: registry.example.com/shop/vote:2@"+gittest.Digest(2)+"\n")
	assert.NotContains(t, body, "ZG8tbm90LXNob3c", "the values of Secrets are hidden")

	o.Evidence = "| Gate soak | healthy in staging for 30m of 30m |"
	again, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Zero(t, again.Attempts, "the commit stays, and its reviews")
	assert.Len(t, h.requests, 1)
	assert.Contains(t, h.requests[0]["body"], "30m of 30m")
}

func TestSecretsAreHidden(t *testing.T) {
	text, err := withoutSecrets([]byte("kind: Secret\nmetadata: {name: a}\ndata: {password: c2VjcmV0}\nstringData: {token: secret}\n"))
	require.NoError(t, err)
	assert.Equal(t, "data:\n  password: (hidden)\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  token: (hidden)\n", string(text))
}
