package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gitFlow is a repository that is delivered by a branch model: a small app with environments on the platform.
type gitFlow struct {
	*worktree
	app  string
	repo *git.Repository
	tree *git.Worktree
}

// newFlow makes a repository for a branch model of aksflow.yaml. It is at its first commit on main. Production is what is added
// to that environment.
func newFlow(t *testing.T, model, app, production string) *gitFlow {
	t.Helper()
	f := &gitFlow{worktree: &worktree{t: t, dir: t.TempDir()}, app: app}
	f.write("app/Dockerfile", "ARG BASE=debian:trixie-slim\nFROM ${BASE} AS app\nCOPY version /version\nEXPOSE 8080\nCMD [\"sleep\", \"infinity\"]\n\n"+
		"FROM app AS test\nCOPY test.sh /test.sh\nCMD [\"sh\", \"/test.sh\"]\n\nFROM app\n")
	f.write("app/test.sh", "mkdir -p /reports && echo '<testsuite name=\"unit\"><testcase name=\"version\"/></testsuite>' > /reports/unit.xml && test -s /version\n")
	f.write("app/version", "1.1.0\n")
	config := "app: " + app + "\nflow: " + model + "\nbuild:\n  context: app\n  args: {BASE: \"" + local.Registry + "/library/debian:trixie-slim\"}\ntest:\n  unit: {target: test}\nenvironments:\n"
	environments := []string{"dev", "staging", "production"}
	if model == "github" {
		environments = environments[1:]
	}
	for _, env := range environments {
		f.write("manifests/"+env+"/app.yaml", fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: %[1]s-%[2]s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[1]s-%[2]s, labels: {app.kubernetes.io/name: %[1]s}}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: %[1]s}}
  template:
    metadata: {labels: {app.kubernetes.io/name: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: %[1]s
        image: localhost:5000/%[1]s:unreleased
        resources: {requests: {cpu: 1m, memory: 8Mi}}
`, app, env))
		config += fmt.Sprintf("  %[2]s:\n    platform: local\n    manifests: manifests/%[2]s\n    namespace: %[1]s-%[2]s\n", app, env)
	}
	f.write("aksflow.yaml", config+production)
	var err error
	f.repo, err = git.PlainInitWithOptions(f.dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: plumbing.Main}})
	require.NoError(t, err)
	f.tree, err = f.repo.Worktree()
	require.NoError(t, err)
	f.commit("As it is")
	return f
}

// newGitFlow is newFlow for GitFlow, with develop.
func newGitFlow(t *testing.T, app, production string) *gitFlow {
	t.Helper()
	f := newFlow(t, "gitflow", app, production)
	f.branch("develop", "main")
	return f
}

// key makes a pair of keys. The public one is committed as NAME.pub; the path of the private one is returned.
func (f *gitFlow) key(name string) string {
	f.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(f.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(f.t, err)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	require.NoError(f.t, err)
	file := filepath.Join(f.t.TempDir(), name+".key")
	require.NoError(f.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	f.write(name+".pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	f.commit("The key of " + name)
	return file
}

// branch makes a branch and checks it out.
func (f *gitFlow) branch(name, from string) {
	f.t.Helper()
	f.checkout(from)
	require.NoError(f.t, f.tree.Checkout(&git.CheckoutOptions{Branch: plumbing.NewBranchReferenceName(name), Create: true}))
}

func (f *gitFlow) checkout(name string) {
	f.t.Helper()
	require.NoError(f.t, f.tree.Checkout(&git.CheckoutOptions{Branch: plumbing.NewBranchReferenceName(name), Force: true}))
}

func (f *gitFlow) head() plumbing.Hash {
	f.t.Helper()
	head, err := f.repo.Head()
	require.NoError(f.t, err)
	return head.Hash()
}

// merge merges a branch that changed the app into one that did not, by a commit with two parents.
func (f *gitFlow) merge(into, from string) {
	f.t.Helper()
	f.checkout(from)
	theirs, version := f.head(), f.read("app/version")
	f.checkout(into)
	f.write("app/version", version)
	require.NoError(f.t, f.tree.AddWithOptions(&git.AddOptions{All: true}))
	who := &object.Signature{Name: "Test", Email: "test@aksflow.example", When: time.Now()}
	_, err := f.tree.Commit("Merge branch '"+from+"' into "+into, &git.CommitOptions{Author: who, AllowEmptyCommits: true, Parents: []plumbing.Hash{f.head(), theirs}})
	require.NoError(f.t, err)
}

func (f *gitFlow) tag(name string) {
	f.t.Helper()
	_ = f.repo.DeleteTag(name)
	_, err := f.repo.CreateTag(name, f.head(), nil)
	require.NoError(f.t, err)
}

// change commits another version of the app.
func (f *gitFlow) change(version string) {
	f.t.Helper()
	f.write("app/version", version+"\n")
	f.commit("Version " + version)
}

// promotion is the JSON of deliver and promote.
type promotion struct {
	delivery
	Error         string
	NotMergedBack []struct{ Branch string }
}

// on runs aksflow as a new runner does: in a fresh clone of a git ref, with a state that has nothing but the way to the
// platform.
func (f *gitFlow) on(gitRef string, args ...string) (result promotion, r ran) {
	f.t.Helper()
	dir, runner := f.t.TempDir(), f.t.TempDir()
	clone, err := git.PlainClone(dir, false, &git.CloneOptions{URL: f.dir})
	require.NoError(f.t, err)
	tree, err := clone.Worktree()
	require.NoError(f.t, err)
	at, err := f.repo.ResolveRevision(plumbing.Revision(gitRef))
	require.NoError(f.t, err)
	require.NoError(f.t, tree.Checkout(&git.CheckoutOptions{Hash: *at})) // as CI systems do
	require.NoError(f.t, os.Symlink(filepath.Join(state, "platform"), filepath.Join(runner, "platform")))
	run := func(ctx context.Context, args ...string) ran {
		cmd := command(ctx, args...)
		cmd.Dir = dir
		cmd.Env = append(cmd.Env, "AKSFLOW_STATE="+runner)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		began := time.Now()
		_ = cmd.Run()
		return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
	}
	defer func() {
		require.NoError(f.t, os.Remove(filepath.Join(runner, "platform")))
		down := run(context.Background(), "down")
		assert.Zero(f.t, down.code, down.stderr)
	}()
	if args[0] == "deliver" || args[0] == "plan" {
		args = append(args, "--ref", gitRef)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), 8*time.Minute)
	defer cancel()
	r = run(ctx, append(args, "--output", "json")...)
	f.t.Logf("aksflow %s on %s: exit %d after %.1f s\n%s", strings.Join(args, " "), gitRef, r.code, r.took.Seconds(), r.stderr)
	require.NoError(f.t, json.Unmarshal([]byte(r.stdout), &result), r.stdout)
	r.remember(args)
	return result, r
}

// deliver delivers a git ref, which must end well.
func (f *gitFlow) deliver(gitRef string) promotion {
	f.t.Helper()
	result, r := f.on(gitRef, "deliver")
	require.Zero(f.t, r.code, r.stderr)
	return result
}

// runs checks that the pods of an environment run a digest.
func (f *gitFlow) runs(environment, wanted string) {
	f.t.Helper()
	pods, err := admin(f.t).CoreV1().Pods(f.app+"-"+environment).List(f.t.Context(), metav1.ListOptions{})
	require.NoError(f.t, err)
	running := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			require.Len(f.t, pod.Status.ContainerStatuses, 1)
			assert.Contains(f.t, pod.Status.ContainerStatuses[0].ImageID, wanted)
			running++
		}
	}
	assert.Positive(f.t, running)
}

// tagged returns the digest of a tag in the platform's registry.
func (f *gitFlow) tagged(tag string) string {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodHead, "http://"+local.Registry+"/v2/"+f.app+"/manifests/"+tag, nil)
	require.NoError(f.t, err)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest")
}

// From a feature to production by GitFlow, each delivery on a new runner: production runs the very digest that staging
// proved, and it was built once.
func TestBuildOnce(t *testing.T) {
	f := newGitFlow(t, "shop", "")
	f.branch("feature/login", "develop")
	f.change("1.2.0")
	feature := f.deliver("refs/heads/feature/login")
	assert.Empty(t, feature.Environment, "a feature is built and tested")
	assert.Equal(t, "done", feature.status("test"))

	f.merge("develop", "feature/login")
	dev := f.deliver("refs/heads/develop")
	assert.Equal(t, "dev", dev.Environment)
	assert.Equal(t, "done", dev.status("build"))
	f.runs("dev", digest(dev.Image))

	f.branch("release/1.2.0", "develop")
	staging := f.deliver("refs/heads/release/1.2.0")
	assert.Equal(t, "staging", staging.Environment)
	assert.Equal(t, "unchanged", staging.status("build"), "built once")
	assert.Equal(t, "unchanged", staging.status("test"), "tested once")
	assert.Equal(t, "done", staging.status("prove"))
	assert.Equal(t, digest(dev.Image), digest(staging.Image))
	assert.Regexp(t, `:1\.2\.0-rc\.g[0-9a-f]{7}@`, staging.Image)

	t.Run("main has another source", func(t *testing.T) {
		refused, r := f.on("refs/heads/main", "deliver")
		assert.Equal(t, 1, r.code)
		assert.Contains(t, refused.Error, "production has another source: refs/heads/main is at commit ")
		assert.Contains(t, refused.Error, "and staging runs an image of commit ")
		assert.Equal(t, "skipped", refused.status("deploy"))
	})

	f.merge("main", "release/1.2.0")
	main := f.deliver("refs/heads/main")
	assert.Equal(t, "production", main.Environment)
	assert.Empty(t, main.status("build"), "nothing is built for production")
	assert.Equal(t, digest(staging.Image), digest(main.Image))
	assert.Empty(t, main.NotMergedBack)
	f.runs("production", digest(staging.Image))

	f.tag("v1.2.0")
	released := f.deliver("refs/tags/v1.2.0")
	assert.Equal(t, digest(staging.Image), digest(released.Image))
	assert.Equal(t, digest(staging.Image), f.tagged("1.2.0"), "the release's tag is on the digest that staging proved")

	f.branch("hotfix/1.2.1", "main")
	f.change("1.2.1")
	fixed := f.deliver("refs/heads/hotfix/1.2.1")
	assert.Equal(t, "done", fixed.status("build"))
	require.NotEqual(t, digest(staging.Image), digest(fixed.Image))

	t.Run("the tag of a release that moved", func(t *testing.T) {
		f.merge("main", "hotfix/1.2.1")
		f.tag("v1.2.0")
		refused, r := f.on("refs/tags/v1.2.0", "deliver")
		assert.Equal(t, 1, r.code)
		assert.Contains(t, refused.Error, "the tag of a release does not move")
		f.runs("production", digest(staging.Image))
		assert.Equal(t, digest(staging.Image), f.tagged("1.2.0"))
	})
	f.tag("v1.2.1")
	patched := f.deliver("refs/tags/v1.2.1")
	assert.Equal(t, digest(fixed.Image), digest(patched.Image))
	f.runs("production", digest(fixed.Image))
	if assert.Len(t, patched.NotMergedBack, 1, "develop lacks it") {
		assert.Equal(t, "hotfix/1.2.1", patched.NotMergedBack[0].Branch)
	}

	t.Run("a rollback of the chain withdraws", func(t *testing.T) {
		_, r := f.on("refs/heads/main", "rollback", "--env", "staging", "--chain")
		require.Zero(t, r.code, r.stderr)
		f.runs("staging", digest(staging.Image))
		f.runs("production", digest(staging.Image))
		// Somebody brings the image back behind the records.
		_, r = f.on("refs/heads/main", "rollback", "--env", "staging", "--to", "2")
		require.Zero(t, r.code, r.stderr)
		f.runs("staging", digest(fixed.Image))
		refused, r := f.on("refs/heads/main", "promote", "--to", "production")
		assert.Equal(t, 1, r.code)
		assert.Contains(t, refused.Error, digest(fixed.Image)+" was withdrawn from staging at ")
		f.runs("production", digest(staging.Image))
	})
}

// The same by pull: the digest that staging proved stands in git, and Argo CD rolls it out.
func TestBuildOnceByPull(t *testing.T) {
	f := newGitFlow(t, "store", "    target: pull\n    gitops: {namespace: argocd, application: store-production, setup: manifests/argocd, repo: \"http://localhost:3000/store.git\"}\n")
	f.checkout("develop")
	f.write("manifests/argocd/application.yaml", `apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: store, namespace: argocd}
spec:
  sourceRepos: ["http://localhost:3000/store.git"]
  destinations: [{name: in-cluster, namespace: store-*}]
  clusterResourceWhitelist: [{group: "", kind: Namespace}]
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: store-production, namespace: argocd}
spec:
  project: store
  source: {repoURL: "http://localhost:3000/store.git", path: manifests/production, targetRevision: main}
  destination: {name: in-cluster, namespace: store-production}
  syncPolicy: {automated: {prune: true, selfHeal: true}}
`)
	f.commit("Argo CD follows production")
	f.branch("release/1.2.0", "develop")
	f.change("1.2.0")
	staging := f.deliver("refs/heads/release/1.2.0")
	assert.Equal(t, "done", staging.status("build"))

	f.checkout("release/1.2.0") // main is the release, as after a merge that was fast-forwarded
	require.NoError(t, f.repo.Storer.SetReference(plumbing.NewHashReference(plumbing.Main, f.head())))
	f.tag("v1.2.0")
	released, r := f.on("refs/tags/v1.2.0", "promote", "--to", "production", "--proved-by-hand", "somebody looked at it")
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, "production", released.Environment)
	assert.Empty(t, released.status("build"))
	assert.Equal(t, "done", released.status("wait"))
	assert.Equal(t, "done", released.status("prove"))
	assert.Equal(t, digest(staging.Image), digest(released.Image))
	f.runs("production", digest(staging.Image))

	// The promotion by hand left the tag of the candidate in git. A delivery of the release names the release beside the same
	// digest, once.
	tagged := f.deliver("refs/tags/v1.2.0")
	assert.Equal(t, "done", tagged.status("bump"))
	assert.Equal(t, digest(staging.Image), digest(tagged.Image))
	again := f.deliver("refs/tags/v1.2.0")
	assert.Equal(t, "unchanged", again.status("bump"))
}

// GitHub Flow: main goes to staging, and a tag brings its digest to production, once somebody who may has approved it.
func TestGitHubFlow(t *testing.T) {
	f := newFlow(t, "github", "kiosk", "    gates: {approve: {signed: {by: [{key: ann.pub}]}}}\n")
	ann, eve := f.key("ann"), f.key("eve")
	f.branch("login", "main")
	f.change("1.2.0")
	assert.Empty(t, f.deliver("refs/heads/login").Environment, "a branch is built and tested")
	f.merge("main", "login")
	staging := f.deliver("refs/heads/main")
	assert.Equal(t, "staging", staging.Environment)
	assert.Equal(t, "done", staging.status("prove"))

	f.tag("v1.2.0")
	refused, r := f.on("refs/tags/v1.2.0", "deliver")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, refused.Error, "approve: 0 of 1: ann.pub may approve, with `aksflow approve --env production --image ")
	assert.Equal(t, "skipped", refused.status("deploy"))
	approve := []string{"approve", "--env", "production", "--reason", "looked at it", "--key"}
	refused, r = f.on("refs/tags/v1.2.0", append(approve, eve)...)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, refused.Error, "its signature is not one of ann.pub")
	_, r = f.on("refs/tags/v1.2.0", append(approve, ann)...)
	require.Zero(t, r.code, r.stderr)

	released := f.deliver("refs/tags/v1.2.0")
	assert.Equal(t, "production", released.Environment)
	assert.Empty(t, released.status("build"))
	assert.Equal(t, digest(staging.Image), digest(released.Image))
	f.runs("production", digest(staging.Image))
}

// Trunk: main goes to dev, release branches and release candidates to staging, and a tag to production, here through a freeze
// that somebody who may opens.
func TestTrunk(t *testing.T) {
	f := newFlow(t, "trunk", "stand", "    gates: {freeze: [{from: \"2020-01-01\", to: \"2099-12-31\"}], override: {by: [{key: on-call.pub}]}}\n")
	key := f.key("on-call")
	f.change("1.2.0")
	dev := f.deliver("refs/heads/main")
	assert.Equal(t, "dev", dev.Environment)
	assert.Equal(t, "done", dev.status("build"))
	f.branch("release/1.2", "main")
	staging := f.deliver("refs/heads/release/1.2")
	assert.Equal(t, "staging", staging.Environment)
	assert.Equal(t, "unchanged", staging.status("build"))
	f.tag("v1.2.0-rc.1")
	candidate := f.deliver("refs/tags/v1.2.0-rc.1")
	assert.Equal(t, "staging", candidate.Environment)
	assert.Equal(t, digest(dev.Image), digest(candidate.Image))

	f.tag("v1.2.0")
	refused, r := f.on("refs/tags/v1.2.0", "deliver")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, refused.Error, "freeze: frozen: opens at 2100-01-01 00:00 UTC")
	released, r := f.on("refs/tags/v1.2.0", "deliver", "--override", "the stand is closed", "--key", key)
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, "production", released.Environment)
	assert.Equal(t, digest(dev.Image), digest(released.Image))
	f.runs("production", digest(dev.Image))
	for _, args := range [][]string{{"history", "--env", "production"}, {"verify", "--env", "production", released.Image}} {
		_, r := f.on("refs/heads/main", args...)
		require.Zero(t, r.code, r.stderr)
		assert.Contains(t, r.stdout, "the stand is closed", args[0])
		assert.Contains(t, r.stdout, "on-call.pub", args[0])
	}
}
