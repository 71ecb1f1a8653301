// Package azure runs this repository's own workflow against the stand-in for Azure: GitHub's ID tokens, Microsoft Entra, a
// container registry and AKS clusters, in front of a real registry and a real cluster.
package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// assertionLifetime of GitHub's ID tokens is shorter here than build and test take, as it is with five minutes and an app
// that takes ten.
const assertionLifetime = 3 * time.Second

var (
	bin   string // the programs
	state string
	local *localplatform.Info
	began time.Time
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	began = time.Now().Truncate(time.Second) // file systems take the time of the last tick
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		fmt.Println("skipped: the platform needs root on Linux")
		return 0
	}
	var err error
	if bin = os.Getenv("AKSFLOW_BIN"); bin == "" {
		if bin, err = filepath.Abs("../../bin"); err != nil {
			fmt.Println(err)
			return 1
		}
		os.Setenv("AKSFLOW_BIN", bin)
	}
	if state = os.Getenv("AKSFLOW_STATE"); state == "" {
		if state, err = os.MkdirTemp("", "aksflow-"); err != nil { // short: sockets are below it
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(state)
	}
	defer func() {
		down := exec.Command(filepath.Join(bin, "aksflow"), "down", "--state", state)
		if out, err := down.CombinedOutput(); err != nil {
			fmt.Printf("down: %v\n%s", err, out)
		}
	}()
	ctx := report.With(context.Background(), report.NewPlain(os.Stdout, false))
	local, err = localplatform.Up(ctx, localplatform.Options{
		State: filepath.Join(state, "platform"), FreePorts: true, AzureTokens: assertionLifetime,
		Parts: []localplatform.Part{localplatform.ArgoCD, localplatform.Azure},
	})
	if err != nil {
		fmt.Printf("up: %v\n", err)
		return 1
	}
	return m.Run()
}

// control asks the stand-in itself: see standin.ControlURL.
func control(t *testing.T, method, path string, body, answer any) {
	t.Helper()
	key, err := os.ReadFile(local.Azure.KeyFile)
	require.NoError(t, err)
	proxy, err := url.Parse(local.Azure.Proxy)
	require.NoError(t, err)
	client := &http.Client{Transport: transport(t, proxy)}
	content, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, standin.ControlURL+path, bytes.NewReader(content))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+string(key))
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, string(text))
	if answer != nil {
		require.NoError(t, json.Unmarshal(text, answer))
	}
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl"), append([]string{"--kubeconfig", local.Kubeconfig}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "kubectl %s: %s", args, out)
	return string(out)
}

// checkout makes the repository of a workflow's run on a branch.
func checkout(t *testing.T, branch string, change func(dir string)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, path := range []string{"action.yml", "Makefile", "go.mod", "go.sum", "main.go", "internal", "schema", "tools/build", "tools/buildkit", "app", "manifests", "aksflow.yaml", ".github"} {
		from, to := filepath.Join("../..", path), filepath.Join(dir, path)
		info, err := os.Stat(from)
		require.NoError(t, err)
		if info.IsDir() {
			require.NoError(t, os.CopyFS(to, os.DirFS(from)))
			continue
		}
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, content, 0o644))
	}
	change(dir)
	repository, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(branch)}})
	require.NoError(t, err)
	tree, err := repository.Worktree()
	require.NoError(t, err)
	require.NoError(t, tree.AddWithOptions(&git.AddOptions{All: true}))
	_, err = tree.Commit("The app", &git.CommitOptions{Author: &object.Signature{Name: "Ada", Email: "ada@example.com", When: time.Unix(1_700_000_000, 0)}})
	require.NoError(t, err)

	// The action is that of a release, so that no run compiles.
	archive := filepath.Join(t.TempDir(), "programs.tar.gz")
	out, err := exec.CommandContext(t.Context(), "tar", "-czhf", archive, "-C", bin, "aksflow", "aksflow-shim", "buildkitd").CombinedOutput()
	require.NoError(t, err, string(out))
	content, err := os.ReadFile(archive)
	require.NoError(t, err)
	write(t, filepath.Join(dir, ".release"), fmt.Sprintf("%s %x file://%s\n", runtime.GOARCH, sha256.Sum256(content), archive))
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func replace(t *testing.T, path, from, to string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(content), from, "%s changed: change the test too", path)
	write(t, path, strings.ReplaceAll(string(content), from, to))
}

// push runs deliver.yml for a push, as a job of the environment. It returns the log.
func push(t *testing.T, dir, environment string) (log string, err error) {
	t.Helper()
	act := filepath.Join(bin, "act")
	if _, err := os.Stat(act); err != nil {
		t.Skip("act was not found: `make bin/act` builds it")
	}
	var job string
	control(t, http.MethodPost, "/job?issuer="+url.QueryEscape(standin.GitHubIssuer)+"&subject="+url.QueryEscape("repo:aksflow/aksflow:environment:"+environment), nil, &job)
	password := readFile(t, local.GitPasswordFile)
	args := []string{
		"push", "--directory", dir, "--workflows", ".github/workflows/deliver.yml",
		"--platform", "ubuntu-latest=-self-hosted", "--container-daemon-socket", "-",
		"--action-cache-path", t.TempDir(), "--no-cache-server", "--secret", "GITHUB_TOKEN",
	}
	for name, value := range map[string]string{
		"AZURE_CLIENT_ID": standin.SampleClient, "AZURE_TENANT_ID": standin.SampleTenant, "AZURE_SUBSCRIPTION_ID": standin.SampleSubscription,
		"ACR_NAME": standin.SampleRegistry, "AKS_RESOURCE_GROUP": standin.SampleGroup,
	} {
		args = append(args, "--var", name+"="+value)
	}
	cmd := exec.CommandContext(t.Context(), act, args...)
	cmd.Env = append(os.Environ(),
		"XDG_CONFIG_HOME="+t.TempDir(), "AKSFLOW_STATE="+state, "AKSFLOW_BIN=", "AKSFLOW_ENGINE=embedded", "GITHUB_TOKEN="+strings.TrimSpace(password),
		"HTTPS_PROXY="+local.Azure.Proxy, "NO_PROXY=localhost,127.0.0.1", "SSL_CERT_FILE="+local.Azure.CAFile,
		"ACTIONS_ID_TOKEN_REQUEST_URL="+standin.GitHubRequestURL, "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+job,
		"BASE="+local.Registry+"/library/debian:trixie-slim", "DOCKER_CONFIG="+t.TempDir(),
	)
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("act's log:\n%s", out)
		}
	})
	return string(out), err
}

// assertions are the ID tokens of GitHub that were given out, in order.
func assertions(t *testing.T) (times []time.Time) {
	t.Helper()
	var issued []string
	control(t, http.MethodGet, "/issued", nil, &issued)
	for _, token := range issued {
		var claims jwt.RegisteredClaims
		_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
		require.NoError(t, err)
		if claims.Issuer == standin.GitHubIssuer {
			times = append(times, claims.IssuedAt.Time)
		}
	}
	return times
}

func TestDeliverYML(t *testing.T) {
	kubectl(t, "create", "namespace", "vote-dev")
	kubectl(t, "apply", "-n", "vote-dev", "-f", "../../manifests/rbac/deployer.yaml")

	var logs strings.Builder
	t.Run("dev by push, without the Role", func(t *testing.T) {
		log, err := push(t, checkout(t, "develop", func(string) {}), "dev")
		logs.WriteString(log)
		require.Error(t, err)
		assert.Contains(t, log, standin.SampleObject+" may not ")
		assert.Contains(t, log, "add to its Role: - {apiGroups: ")
	})
	t.Run("dev by push", func(t *testing.T) {
		kubectl(t, "create", "rolebinding", "-n", "vote-dev", "azure", "--role=deployer", "--user="+standin.SampleObject)
		dir := checkout(t, "develop", func(dir string) {
			// Another image than before, so that there is something to build and test.
			replace(t, filepath.Join(dir, "app/Dockerfile"), "WORKDIR /app", "ENV DELIVERED=again\nWORKDIR /app")
		})
		before := len(assertions(t))
		log, err := push(t, dir, "dev")
		logs.WriteString(log)
		require.NoError(t, err)
		assert.Contains(t, log, "dev runs "+local.Azure.Registry+"/vote:0.0.0-develop.")
		tokens := assertions(t)[before:]
		require.GreaterOrEqual(t, len(tokens), 2)
		first, last := tokens[0], tokens[len(tokens)-1]
		assert.Greater(t, last.Sub(first), assertionLifetime, "one ID token was not enough for the job")
	})
	t.Run("production by pull", func(t *testing.T) {
		const namespace = "vote-local-argocd"
		repository := local.RepositoryURL("vote")
		dir := checkout(t, "main", func(dir string) {
			// Argo CD follows the local platform's repository: the workflow's own is not on this machine.
			replace(t, filepath.Join(dir, ".github/workflows/deliver.yml"), "${{ github.server_url }}/${{ github.repository }}.git", repository)
			replace(t, filepath.Join(dir, "aksflow.yaml"), "    manifests: manifests/overlays/production\n    namespace: vote-production\n",
				"    manifests: manifests/overlays/local-argocd\n    namespace: "+namespace+"\n")
			replace(t, filepath.Join(dir, "aksflow.yaml"), "      application: vote-production\n", "      application: "+namespace+"\n      username: aksflow\n      replace: [vote]\n")
			replace(t, filepath.Join(dir, "manifests/argocd/local/repository.yaml"), "http://localhost:3000/vote.git", repository)
		})
		_, err := local.Seed(t.Context(), "vote", "main", dir)
		require.NoError(t, err)
		kubectl(t, "apply", "-k", filepath.Join(dir, "manifests/argocd/local"))
		kubectl(t, "create", "namespace", namespace)
		kubectl(t, "apply", "-f", "../../manifests/rbac/wait.yaml")
		kubectl(t, "create", "rolebinding", "-n", "argocd", "wait", "--clusterrole=aksflow-wait-operator", "--user="+standin.SampleObject)
		kubectl(t, "create", "clusterrolebinding", "wait", "--clusterrole=aksflow-wait-app", "--user="+standin.SampleObject)
		log, err := push(t, dir, "production")
		logs.WriteString(log)
		require.NoError(t, err)
		assert.Contains(t, log, "production runs "+local.Azure.Registry+"/vote:0.0.0-main.")
	})
	t.Run("no token is in a log or a file", func(t *testing.T) {
		var issued []string
		control(t, http.MethodGet, "/issued", nil, &issued)
		require.NotEmpty(t, issued)
		for _, token := range issued {
			signature := token[strings.LastIndex(token, ".")+1:]
			assert.NotContains(t, logs.String(), signature, "the workflows' logs")
		}
		searchFiles(t, state, issued)
	})
}
