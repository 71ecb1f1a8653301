package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// document reads the one JSON document that stdout has.
func document(t *testing.T, stdout []byte) map[string]any {
	t.Helper()
	var document map[string]any
	dec := json.NewDecoder(bytes.NewReader(stdout))
	require.NoError(t, dec.Decode(&document), string(stdout))
	_, err := dec.Token()
	require.ErrorIs(t, err, io.EOF, "more than one document: %s", stdout)
	return document
}

func TestAFailedRunSaysWhyInJSON(t *testing.T) {
	var out bytes.Buffer
	g := &globals{output: "json", stdout: &out}
	crash := delivery.Reason{
		Object: "Deployment/web", Reason: "CrashLoopBackOff", Message: "it crashed", Pod: "web-1", Container: "app", Logs: []string{"no such file"},
	}
	err := delivery.WithReasons(errors.New("Deployment/web: it crashed"), []delivery.Reason{crash})
	require.NoError(t, g.print(deployResult{&delivery.Deployed{
		Objects: []delivery.Object{{Ref: "Deployment/web", Status: "restored"}}, Revision: 1, RolledBack: true,
	}}, err, 1))
	assert.Equal(t, map[string]any{
		"objects":  []any{map[string]any{"ref": "Deployment/web", "status": "restored"}},
		"revision": 1.0, "rolledBack": true,
		"exitCode": 1.0, "error": "Deployment/web: it crashed",
		"reasons": []any{map[string]any{
			"object": "Deployment/web", "reason": "CrashLoopBackOff", "message": "it crashed", "pod": "web-1", "container": "app",
			"logs": []any{"no such file"},
		}},
	}, document(t, out.Bytes()))
}

func TestEachRunHasOneDocument(t *testing.T) {
	for name, tt := range map[string]struct {
		result result
		err    error
		want   map[string]any
	}{
		"no result": {nil, errors.New("no"), map[string]any{
			"exitCode": 1.0, "error": "no", "reasons": []any{map[string]any{"message": "no"}},
		}},
		"a result that is not there": {deployResult{}, errors.New("no"), map[string]any{
			"exitCode": 1.0, "error": "no", "reasons": []any{map[string]any{"message": "no"}},
		}},
		"an empty result": {downResult{}, nil, map[string]any{"exitCode": 0.0}},
		"a list":          {historyResult{&delivery.History{Revisions: []delivery.Revision{}}}, nil, map[string]any{"revisions": []any{}, "exitCode": 0.0}},
		"a difference": {diffResult{&delivery.Difference{Diff: "+ a < b", Changed: true}}, errDiffers, map[string]any{
			"diff": "+ a < b", "changed": true, "exitCode": 1.0,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			g := &globals{output: "json", stdout: &out}
			code := 0
			if tt.err != nil {
				code = 1
			}
			require.NoError(t, g.print(tt.result, tt.err, code))
			assert.Equal(t, tt.want, document(t, out.Bytes()))
		})
	}
}

// run executes a command line as main does, in a directory.
func run(t *testing.T, dir string, args ...string) (code int, stdout []byte, stderr string) {
	t.Helper()
	t.Chdir(dir)
	t.Setenv("GITHUB_ACTIONS", "")
	for _, name := range []string{"GITHUB_REF", "CI_COMMIT_REF_NAME", "BUILD_SOURCEBRANCH", "BRANCH_NAME", "GIT_BRANCH"} {
		t.Setenv(name, "")
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer log.Close()
	var out bytes.Buffer
	g := &globals{version: "test", stdout: &out, stderr: log}
	code = g.execute(context.Background(), args)
	text, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	return code, out.Bytes(), string(text)
}

// Also a run that never reaches its verb says in JSON what is wrong.
func TestWrongUsageIsADocument(t *testing.T) {
	for name, args := range map[string][]string{
		"an unknown flag":       {"deploy", "--fast", "--output", "json"},
		"an unknown verb":       {"delivr", "--output=json"},
		"no configuration":      {"deploy", "--env", "dev", "--output", "json"},
		"flags that do not mix": {"bump", "--output", "json", "--image", "a", "--manifests", "m", "--repo", "r"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(t, t.TempDir(), args...)
			assert.Equal(t, 2, code)
			doc := document(t, stdout)
			assert.InDelta(t, 2, doc["exitCode"], 0)
			assert.NotEmpty(t, doc["error"])
			assert.Contains(t, stderr, "aksflow: ")
		})
	}
}

func TestPlanWithoutAnEnvironment(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "aksflow.yaml"), []byte(
		"app: vote\nenvironments:\n  dev: {branches: [develop], registry: registry.example, manifests: m}\n"), 0o600))
	code, stdout, stderr := run(t, dir, "plan", "--ref", "refs/pull/7/merge", "--output", "json")
	require.Zero(t, code, stderr)
	doc := document(t, stdout)
	assert.Equal(t, "", doc["environment"])
	assert.Equal(t, []any{"build", "test"}, doc["steps"])

	_, stdout, _ = run(t, dir, "plan", "--ref", "develp")
	assert.Contains(t, string(stdout), "the nearest pattern is develop of dev")
}

func TestGitRef(t *testing.T) {
	for name, tt := range map[string]struct {
		variables map[string]string
		want      string
	}{
		"nowhere":            {nil, ""},
		"GitHub, a branch":   {map[string]string{"GITHUB_REF": "refs/heads/main"}, "refs/heads/main"},
		"GitHub, a tag":      {map[string]string{"GITHUB_REF": "refs/tags/v1.0.0"}, "refs/tags/v1.0.0"},
		"GitHub, a request":  {map[string]string{"GITHUB_REF": "refs/pull/7/merge"}, "refs/pull/7/merge"},
		"GitLab, a branch":   {map[string]string{"CI_COMMIT_REF_NAME": "release/1.0", "CI_COMMIT_BRANCH": "release/1.0"}, "refs/heads/release/1.0"},
		"GitLab, a tag":      {map[string]string{"CI_COMMIT_REF_NAME": "v1.0.0", "CI_COMMIT_TAG": "v1.0.0"}, "refs/tags/v1.0.0"},
		"GitLab, a request":  {map[string]string{"CI_COMMIT_REF_NAME": "develop", "CI_MERGE_REQUEST_IID": "7"}, "refs/merge-requests/7/head"},
		"Azure, a branch":    {map[string]string{"BUILD_SOURCEBRANCH": "refs/heads/develop"}, "refs/heads/develop"},
		"Azure, a tag":       {map[string]string{"BUILD_SOURCEBRANCH": "refs/tags/v1.0.0"}, "refs/tags/v1.0.0"},
		"Jenkins, a branch":  {map[string]string{"BRANCH_NAME": "develop"}, "refs/heads/develop"},
		"Jenkins, a tag":     {map[string]string{"BRANCH_NAME": "v1.0.0", "TAG_NAME": "v1.0.0"}, "refs/tags/v1.0.0"},
		"Jenkins, a request": {map[string]string{"BRANCH_NAME": "PR-7", "CHANGE_ID": "7"}, "refs/pull/7/head"},
		"GitHub, a fork's request with the base's rights": {
			map[string]string{"GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_HEAD_REF": "fix/it"}, "refs/pull/fix-it/head",
		},
		"GitLab, a request of GitHub":        {map[string]string{"CI_COMMIT_REF_NAME": "main", "CI_COMMIT_BRANCH": "main", "CI_EXTERNAL_PULL_REQUEST_IID": "7"}, "refs/pull/7/head"},
		"Azure, a request":                   {map[string]string{"BUILD_SOURCEBRANCH": "refs/pull/7/merge"}, "refs/pull/7/merge"},
		"Bitbucket, a branch":                {map[string]string{"BITBUCKET_BRANCH": "main"}, "refs/heads/main"},
		"Bitbucket, a tag":                   {map[string]string{"BITBUCKET_TAG": "v1.0.0"}, "refs/tags/v1.0.0"},
		"Bitbucket, a request":               {map[string]string{"BITBUCKET_BRANCH": "main", "BITBUCKET_PR_ID": "7"}, "refs/pull/7/head"},
		"CircleCI, a branch":                 {map[string]string{"CIRCLE_BRANCH": "develop", "CIRCLE_PULL_REQUEST": "https://github.com/a/b/pull/7"}, "refs/heads/develop"},
		"CircleCI, a tag":                    {map[string]string{"CIRCLE_TAG": "v1.0.0"}, "refs/tags/v1.0.0"},
		"CircleCI, a request of a fork":      {map[string]string{"CIRCLE_BRANCH": "pull/7"}, "refs/pull/7/head"},
		"CircleCI, a fork's number":          {map[string]string{"CIRCLE_BRANCH": "main", "CIRCLE_PR_NUMBER": "7"}, "refs/pull/7/head"},
		"Jenkins, one pipeline, full name":   {map[string]string{"GIT_BRANCH": "refs/remotes/origin/develop"}, "refs/heads/develop"},
		"Jenkins, one pipeline, a tag":       {map[string]string{"GIT_BRANCH": "refs/tags/v1.0.0"}, "refs/tags/v1.0.0"},
		"Jenkins, one pipeline, a short tag": {map[string]string{"GIT_BRANCH": "tags/v1.0.0"}, "refs/tags/v1.0.0"},
		"Jenkins, one pipeline, detached":    {map[string]string{"GIT_BRANCH": "detached"}, ""},
		"Jenkins, tags fetched as branches":  {map[string]string{"GIT_BRANCH": "origin/tags/v1.0.0"}, "refs/tags/v1.0.0"},
		"Jenkins, another remote":            {map[string]string{"GIT_BRANCH": "upstream/release/1.2.0", "GIT_LOCAL_BRANCH": "release/1.2.0"}, "refs/heads/release/1.2.0"},
		"Jenkins, a fixed local branch":      {map[string]string{"GIT_BRANCH": "origin/feature/main", "GIT_LOCAL_BRANCH": "main"}, "refs/heads/feature/main"},
		"Jenkins, GitHub's request builder":  {map[string]string{"GIT_BRANCH": "origin/main", "ghprbPullId": "7"}, "refs/pull/7/head"},
		"Jenkins, GitLab's merge request":    {map[string]string{"GIT_BRANCH": "origin/main", "gitlabMergeRequestIid": "7"}, "refs/pull/7/head"},
		"Woodpecker, a request":              {map[string]string{"CI_COMMIT_BRANCH": "main", "CI_COMMIT_PULL_REQUEST": "7"}, "refs/pull/7/head"},
		"Woodpecker, a branch":               {map[string]string{"CI_COMMIT_BRANCH": "main", "CI_COMMIT_PULL_REQUEST": ""}, "refs/heads/main"},
		"Drone, a request":                   {map[string]string{"DRONE_BRANCH": "main", "DRONE_PULL_REQUEST": "7"}, "refs/pull/7/head"},
		"Buildkite, no request":              {map[string]string{"BUILDKITE_BRANCH": "main", "BUILDKITE_PULL_REQUEST": "false"}, ""},
		"Jenkins, one pipeline":              {map[string]string{"GIT_BRANCH": "origin/develop"}, "refs/heads/develop"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, gitRef(func(name string) string { return tt.variables[name] }))
		})
	}
}

func TestTheCheckoutOfAnotherBranch(t *testing.T) {
	dir := t.TempDir()
	repo, err := gogit.PlainInitWithOptions(dir, &gogit.PlainInitOptions{InitOptions: gogit.InitOptions{DefaultBranch: "refs/heads/develop"}})
	require.NoError(t, err)
	tree, err := repo.Worktree()
	require.NoError(t, err)
	who := &object.Signature{Name: "Test", Email: "test@example.com", When: time.Unix(1_700_000_000, 0)}
	hash, err := tree.Commit("Change", &gogit.CommitOptions{Author: who, AllowEmptyCommits: true})
	require.NoError(t, err)
	here, other := hash.String(), strings.Repeat("1", 40)
	is := func(gitRef string, variables map[string]string) string {
		ref, warning := ofCheckout(func(name string) string { return variables[name] }, gitRef, dir)
		assert.Equal(t, ref != gitRef, warning != "")
		return ref
	}
	github := func(commit string) map[string]string {
		return map[string]string{"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": commit}
	}
	assert.Equal(t, "refs/heads/develop", is("refs/heads/main", github(other)), "a schedule's job that checked out develop")
	assert.Equal(t, "refs/heads/main", is("refs/heads/main", github(here)))
	assert.Equal(t, "refs/heads/develop", is("refs/heads/develop", github(other)), "a commit on the same branch")
	assert.Equal(t, "refs/pull/7/merge", is("refs/pull/7/merge", github(other)))
	assert.Equal(t, "refs/tags/v1", is("refs/tags/v1", github(other)))
	assert.Equal(t, "", is("", github(other)))
	assert.Equal(t, "refs/heads/main", is("refs/heads/main", nil), "no variable names the commit")

	require.NoError(t, tree.Checkout(&gogit.CheckoutOptions{Hash: hash}))
	assert.Equal(t, "HEAD", is("refs/heads/main", github(other)), "the head of a pull request, after a comment on it")
	assert.Equal(t, "refs/heads/main", is("refs/heads/main", map[string]string{"CI_COMMIT_SHA": other}), "a job of GitLab may have committed")
	_, warning := ofCheckout(func(name string) string { return github(other)[name] }, "refs/heads/main", dir)
	assert.Equal(t, "the CI run is for refs/heads/main at 111111111111, and its job has checked out HEAD at "+here[:12]+": that is what counts here; name another git ref with --ref", warning)
}

func TestConnectTo(t *testing.T) {
	for value, want := range map[string]string{
		"registry.example:443":          "want HOST:PORT:ENDPOINT, such as registry.example.com:443:127.0.0.1:5000",
		"registry.example:443:a:b":      `"b" is no port`,
		"registry.example:443:h/path:1": `"h/path" is no host`,
	} {
		code, _, stderr := run(t, t.TempDir(), "publish", "--connect-to", value)
		assert.Equal(t, 2, code)
		assert.Contains(t, stderr, `aksflow: invalid argument "`+value+`" for "--connect-to" flag: `)
		assert.Contains(t, stderr, want)
	}
}
