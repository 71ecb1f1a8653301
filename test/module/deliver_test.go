package module

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
)

// platform is what `aksflow up --output json` prints.
type platform struct {
	Registry, Git, GitUser, GitPasswordFile, Kubeconfig string
}

// TestModuleDelivers brings the sample to the local platform through the module, by push and by pull. Its servers come in
// as services, since they listen on this machine only.
func TestModuleDelivers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("the local platform needs Linux and root")
	}
	aksflow := program(t)
	local := up(t, aksflow)
	repository := sample(t)
	text, err := os.ReadFile(filepath.Join(repository, "aksflow.yaml"))
	require.NoError(t, err)
	write(t, repository, map[string]string{"aksflow.yaml": string(text) + `
  by-push:
    registry: ` + local.Registry + `
    manifests: manifests/overlays/local
    namespace: vote-local
    sign: {key: keys/run.key, passwordEnv: RUN_PASSWORD}
  promoted:
    from: by-push
    registry: ` + local.Registry + `/promoted
    manifests: promoted
    namespace: vote-promoted
    sign: {key: keys/run.key, passwordEnv: RUN_PASSWORD}
    verify: {require: [test, provenance, "proved:by-push"], signers: [{key: keys/run.pub}]}
    gates: {approve: {signed: {by: [{key: keys/ann.pub}]}}}
  by-pull:
    target: pull
    registry: ` + local.Registry + `
    manifests: manifests/overlays/local-argocd
    namespace: vote-local-argocd
    gitops: {application: vote-local-argocd, repo: "` + local.Git + `/vote.git", replace: [vote]}
`, "promoted/all.yaml": promoted})
	const password = "of both keys"
	for _, name := range []string{"run", "ann"} {
		private, public, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), cryptoutils.StaticPasswordFunc([]byte(password)))
		require.NoError(t, err)
		write(t, repository, map[string]string{"keys/" + name + ".key": string(private), "keys/" + name + ".pub": string(public)})
	}
	git := gitIn(t, repository)
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "one")

	s, err := engine.Connect(t.Context(), engine.Options{Engine: engine.Embedded, Env: os.Environ()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	kubeconfig, err := os.ReadFile(local.Kubeconfig)
	require.NoError(t, err)
	token, err := os.ReadFile(local.GitPasswordFile)
	require.NoError(t, err)
	m := &module{
		binary:  compile(t, s.Client()),
		session: serve(t, s.Client(), &recorder{}),
		given: call{
			Root: repository, Aksflow: aksflow,
			Variables:      []string{"BASE=" + local.Registry + "/" + baseimage.Debian},
			RegistryServer: local.Registry,
			GitToken:       strings.TrimSpace(string(token)), GitUsername: local.GitUser, GitServer: strings.TrimPrefix(local.Git, "http://"),
			Kubeconfig: string(kubeconfig), ClusterServer: apiServer(t, string(kubeconfig)),
			By: "ann@laptop", RunURL: "https://ci.example/1", SigningPassword: password,
		},
	}

	var delivered struct {
		Delivered, Changed bool
		Image              string
		Steps              []struct{ Name, Status, Message string }
	}
	out := m.call(t, m.with(call{Function: "deliver", Env: "by-push", Target: "push", Format: "json"}))
	require.NoError(t, json.Unmarshal([]byte(out), &delivered), out)
	assert.True(t, delivered.Delivered)
	assert.True(t, delivered.Changed)
	var steps []string
	for _, step := range delivered.Steps {
		steps = append(steps, step.Name+" "+step.Status)
	}
	assert.Equal(t, []string{"build done", "test done", "publish done", "deploy done", "prove done"}, steps)
	assert.Contains(t, delivered.Image, strings.TrimPrefix(delivered.Steps[0].Message, "sha256:"), "what was built is what runs")

	out = m.call(t, m.with(call{Function: "deliver", Env: "by-push"}))
	assert.Regexp(t, `deploy +unchanged`, out)
	assert.Contains(t, out, "nothing new: by-push runs this source already")

	history := m.call(t, m.with(call{Function: "history", Env: "by-push"}))
	assert.Contains(t, history, "ann@laptop")

	m.promotes(t, delivered.Image)

	missing := local.Registry + "/vote@sha256:" + strings.Repeat("1", 64)
	_, err = m.try(m.with(call{Function: "deploy", Env: "by-push", Image: missing}))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "does not exist in its registry")
	assert.Contains(t, err.Error(), `{"exitCode":1,"reasons":[{"object":"Deployment/vote","reason":"ErrImagePull"`)
	assert.Equal(t, 2, strings.Count(err.Error(), "\n"), "a message, and a line of JSON:\n%s", err)

	assert.Empty(t, m.call(t, m.with(call{Function: "diff", Env: "by-push", Image: delivered.Image})), "what ran before is back")
	_, err = m.try(m.with(call{Function: "diff", Env: "by-push", Image: missing}))
	assert.ErrorContains(t, err, "+        image: "+missing)
	assert.ErrorContains(t, err, `{"exitCode":1}`)

	// The application of the local platform's environment is what Argo CD follows.
	command(t, aksflow, repository, "deliver", "--env", "local-argocd")
	write(t, repository, map[string]string{"app/vote/more.py": "MORE = True\n"})
	git("add", ".")
	git("commit", "-q", "-m", "two")
	out = m.call(t, m.with(call{Function: "deliver", Root: moved(t, repository), Env: "by-pull", Target: "pull"}))
	assert.Regexp(t, `bump +done`, out)
	assert.Regexp(t, `wait +done .* argocd/vote-local-argocd runs it`, out)
	out = m.call(t, m.with(call{Function: "rollback", Env: "by-pull"}))
	assert.NotEmpty(t, out)
}

// promoted is an app that needs no Redis.
const promoted = `apiVersion: v1
kind: Namespace
metadata: {name: vote-promoted}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: vote, namespace: vote-promoted}
spec:
  selector: {matchLabels: {app: vote}}
  template:
    metadata: {labels: {app: vote}}
    spec:
      containers:
      - name: vote
        image: promoted/vote
        startupProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 60}
`

// promotes brings what by-push runs to the environment after it: what both sides signed is there, and no more is needed.
func (m *module) promotes(t *testing.T, image string) {
	_, digest, _ := strings.Cut(image, "@")
	shown := m.call(t, m.with(call{Function: "verify", Image: image, Env: "promoted"}))
	assert.Regexp(t, `proved:by-push .*run.pub`, shown)

	_, err := m.try(m.with(call{Function: "promote", To: "promoted"}))
	assert.ErrorContains(t, err, "promoted is not open for "+digest[:19]+": approve: 0 of 1: keys/ann.pub may approve")
	_, err = m.try(m.with(call{Function: "approve", Env: "promoted", Reason: "as the run"}))
	assert.ErrorContains(t, err, "who may approve for promoted does not include you: signed with keys/run.key")
	ann, err := os.ReadFile(filepath.Join(m.given.Root, "keys/ann.key"))
	require.NoError(t, err)
	approve := m.with(call{Function: "approve", Env: "promoted", Reason: "tried it", SigningKey: string(ann)})
	assert.Contains(t, m.call(t, approve), "keys/ann.pub")
	out := m.call(t, m.with(call{Function: "promote", To: "promoted"}))
	assert.Regexp(t, `promote +done.*`+digest[7:19], out)
	assert.Regexp(t, `prove +done`, out)
}

// with completes a call by how the servers are reached.
func (m *module) with(c call) call {
	g := m.given
	c.RegistryServer, c.GitServer, c.ClusterServer = g.RegistryServer, g.GitServer, g.ClusterServer
	c.GitToken, c.GitUsername, c.Kubeconfig, c.By, c.RunURL = g.GitToken, g.GitUsername, g.Kubeconfig, g.By, g.RunURL
	c.SigningPassword = g.SigningPassword
	return c
}

// moved returns a copy of a directory: an engine reads a directory once in a session.
func moved(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// up starts the local platform, and ends it with the test.
func up(t *testing.T, aksflow string) (local platform) {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		cmd := exec.Command(aksflow, "down")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s", out)
	})
	out := command(t, aksflow, dir, "up", "--free-ports", "--output", "json", "argocd")
	require.NoError(t, json.Unmarshal([]byte(out), &local), out)
	return local
}

// command runs the command in a directory, and returns its standard output.
func command(t *testing.T, aksflow, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, aksflow, args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "aksflow %v:\n%s", args, &stderr)
	return string(out)
}

// apiServer returns HOST:PORT of the server in a kubeconfig.
func apiServer(t *testing.T, kubeconfig string) string {
	t.Helper()
	_, after, found := strings.Cut(kubeconfig, "server: https://")
	require.True(t, found)
	address, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(address)
}
