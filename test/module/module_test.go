// Package module checks the Dagger module in ci/ without Dagger: it compiles as `dagger call` would compile it, and its
// functions run on the embedded engine.
//
// The code that Dagger generates for a module is not in the repository. A stand-in gives the module the SDK's types
// under the names of the generated ones.
package module

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	goversion "go/version"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"dagger.io/dagger"
	"github.com/Khan/genqlient/graphql"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

var tidy = flag.Bool("tidy", false, "update ci/go.mod and ci/go.sum, as is due when go.mod changes")

// root is the repository.
const root = "../.."

func TestModule(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("the embedded engine needs Linux and root")
	}
	s, err := engine.Connect(t.Context(), engine.Options{Engine: engine.Embedded, Env: os.Environ()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	host := registrytest.Start(t)
	queries := &recorder{}
	m := &module{
		binary:  compile(t, s.Client()),
		session: serve(t, s.Client(), queries),
		given:   call{Root: sample(t), Aksflow: program(t), Variables: []string{"BASE=" + host + "/" + baseimage.Debian}},
	}
	tarball := filepath.Join(t.TempDir(), "image.tar")
	digest := ""

	t.Run("Build", func(t *testing.T) {
		m.call(t, call{Function: "build", Output: tarball})
		digest = digestOf(t, tarball)
	})

	t.Run("SameGraphAsTheCommand", func(t *testing.T) { m.sameGraph(t, queries) })

	t.Run("Container", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "image.tar")
		m.call(t, call{Function: "container", Output: file})
		assert.NotEmpty(t, digestOf(t, file))
	})

	t.Run("Test", func(t *testing.T) {
		assert.Regexp(t, `^\d+ passed$`, m.call(t, call{Function: "test", Image: tarball}))
	})

	t.Run("TestReports", func(t *testing.T) {
		dir := t.TempDir()
		m.call(t, call{Function: "test-reports", Image: tarball, Output: dir})
		assert.Equal(t, []string{"integration.xml", "unit.xml"}, list(t, dir))
	})

	t.Run("FailingTest", func(t *testing.T) {
		root := sample(t)
		write(t, root, map[string]string{"app/tests/unit/test_broken.py": "def test_that_fails():\n    assert 1 == 2\n"})
		_, err := m.try(call{Function: "test", Root: root, Image: tarball})
		assert.ErrorContains(t, err, "test_that_fails")
		dir := t.TempDir()
		m.call(t, call{Function: "test-reports", Root: root, Image: tarball, Output: dir})
		assert.Equal(t, []string{"integration.xml", "unit.xml"}, list(t, dir))
	})

	t.Run("Publish", func(t *testing.T) {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		defer server.Close()
		repository := strings.TrimPrefix(server.URL, "http://") + "/vote"
		assert.Equal(t, repository+"@"+digest,
			m.call(t, call{Function: "publish", Image: tarball, Repository: repository, Tags: []string{"v1"}}))
		pushed, err := crane.Digest(repository + ":v1")
		require.NoError(t, err)
		assert.Equal(t, digest, pushed)
	})

	t.Run("PublishTestsFirst", func(t *testing.T) {
		root := sample(t)
		write(t, root, map[string]string{"app/vote/wsgi.py": "raise SystemExit('no')\n"})
		_, err := m.try(call{Function: "publish", Root: root, Repository: "127.0.0.1:9/vote"})
		assert.ErrorContains(t, err, "nothing was pushed")
	})

	t.Run("BuildSecret", func(t *testing.T) {
		root := t.TempDir()
		write(t, root, map[string]string{
			"aksflow.yaml": "app: vote\nbuild: {args: {BASE: \"${BASE}\"}}\n",
			"Dockerfile":   "ARG BASE\nFROM $BASE\nRUN --mount=type=secret,id=token grep -qx s3cr3t /run/secrets/token\n",
		})
		m.call(t, call{
			Function: "build", Root: root, BuildSecrets: map[string]string{"token": "s3cr3t"},
			Output: filepath.Join(t.TempDir(), "image.tar"),
		})
	})

	t.Run("TestSecretAndSSHAgent", func(t *testing.T) {
		root := t.TempDir()
		socket := filepath.Join(root, "agent.sock")
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		defer listener.Close()
		write(t, root, map[string]string{
			"Dockerfile": "ARG BASE\nFROM $BASE AS test\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && mkdir /reports\n" +
				`CMD ["sh", "-c", "test \"$TOKEN\" = s3cr3t && echo '<testsuite name=\"s\"><testcase name=\"n\"/></testsuite>' > /reports/r.xml"]` + "\n",
			"aksflow.yaml": "app: vote\nbuild: {context: ., args: {BASE: \"${BASE}\"}}\n" +
				"test: {unit: {target: test, secrets: {TOKEN: {env: TOKEN}}}}\n",
		})
		given := call{Function: "test", Root: root, SSHAgent: socket, TestSecrets: map[string]string{"TOKEN": "s3cr3t"}}
		assert.Equal(t, "1 passed", m.call(t, given))
		given.TestSecrets["TOKEN"] = "another"
		_, err = m.try(given)
		assert.Error(t, err)
		given.SSHAgent = ""
		_, err = m.try(given)
		assert.Error(t, err)
	})

	t.Run("Plan", m.plan)
	t.Run("Validate", m.validate)
	t.Run("Bump", m.bump)
	t.Run("BuiltOnce", m.builtOnce)
	t.Run("GitBySSH", m.gitBySSH)
	t.Run("Programs", m.programs)
	t.Run("Misuse", m.misuse)
}

// programs runs the aksflow program of an image, and one that is built. A stand-in for Go "builds" it by a copy.
func (m *module) programs(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	source := t.TempDir()
	program, err := os.ReadFile(m.given.Aksflow)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(source, "program"), program, 0o755))
	publish := func(name, dockerfile string) string {
		root := t.TempDir()
		require.NoError(t, os.CopyFS(root, os.DirFS(source)))
		write(t, root, map[string]string{"aksflow.yaml": "app: " + name + "\nbuild: {args: {BASE: \"${BASE}\"}}\n", "Dockerfile": dockerfile})
		return m.call(t, call{Function: "publish", Root: root, Repository: strings.TrimPrefix(server.URL, "http://") + "/" + name})
	}
	without := *m
	without.given.Aksflow = ""
	for name, c := range map[string]call{
		"image": {AksflowImage: publish("aksflow", "FROM scratch\nCOPY program /bin/aksflow\nENV PATH=/bin\n")},
		"source": {Source: source, GoImage: publish("go", "ARG BASE\nFROM $BASE\n"+
			`RUN printf '#!/bin/sh\ntest "$*" = "build -trimpath -ldflags -s -w -o /aksflow ." && cp program /aksflow\n' > /usr/local/bin/go`+
			" && chmod +x /usr/local/bin/go\n")},
	} {
		t.Run(name, func(t *testing.T) {
			c.Function, c.Env = "validate", "dev"
			assert.Regexp(t, `dev +11`, without.call(t, c))
		})
	}
}

func (m *module) validate(t *testing.T) {
	assert.Regexp(t, `staging +10\n`, m.call(t, call{Function: "validate"}))
	root := sample(t)
	write(t, root, map[string]string{"manifests/overlays/dev/kustomization.yaml": "resources: [nowhere]\n"})
	_, err := m.try(call{Function: "validate", Root: root})
	assert.ErrorContains(t, err, "dev: ")
	assert.ErrorContains(t, err, `{"exitCode":2}`)

	for _, manifests := range []string{"manifests/dev", "manifests/[dev]"} { // brackets are a pattern where files are chosen
		root := t.TempDir()
		write(t, root, map[string]string{
			"aksflow.yaml":                    "app: vote\nenvironments: {dev: {registry: registry.example, manifests: \"" + manifests + "\"}}\n",
			manifests + "/kustomization.yaml": "resources: [made.yaml]\n",
			manifests + "/made.yaml":          "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: vote}]}\n",
			".gitignore":                      "made.yaml\n",
			"app/Dockerfile":                  "FROM scratch\n",
		})
		git := gitIn(t, root)
		git("init", "-q")
		git("add", ".")
		git("commit", "-q", "-m", "one")
		assert.Regexp(t, `dev +1$`, m.call(t, call{Function: "validate", Root: root}), "a manifest that git ignores is one of the environment's")
	}
}

// bump sets an image, and looks at what changed in the work tree.
func (m *module) bump(t *testing.T) {
	root, image := sample(t), "registry.example/vote@sha256:"+strings.Repeat("1", 64)
	git := gitIn(t, root)
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	_, err := m.try(call{Function: "bump", Root: root, Below: "app", Env: "production", Image: image, Output: filepath.Join(root, "app")})
	assert.ErrorContains(t, err, "manifests/overlays/production/kustomization.yaml would change, and is not below the current directory app")
	m.call(t, call{Function: "bump", Root: root, Below: "manifests", Env: "production", Image: image, Output: filepath.Join(root, "manifests")})
	assert.Equal(t, "manifests/overlays/production/kustomization.yaml", git("diff", "--name-only"))
	assert.Contains(t, git("diff"), "+  digest: sha256:1111")
	assert.Empty(t, git("ls-files", "--others"))
	_, err = m.try(call{Function: "bump", Root: root, Env: "production", Image: "registry.example/other@sha256:" + strings.Repeat("1", 64), Output: root})
	assert.ErrorContains(t, err, "no image named registry.example/other")

	root = t.TempDir()
	write(t, root, map[string]string{
		"aksflow.yaml": "app: vote\nenvironments:\n  production:\n    registry: registry.example\n    target: pull\n    manifests: apps\n" +
			"    gitops: {repo: \"https://git.example/vote.git\", images: [{file: settings.yaml, image: web.runs}]}\n",
		"apps/settings.yaml": "web: {runs: registry.example/vote}\n",
		"app/Dockerfile":     "FROM scratch\n",
	})
	m.call(t, call{Function: "bump", Root: root, Env: "production", Image: image, Output: root})
	set, err := os.ReadFile(filepath.Join(root, "apps/settings.yaml"))
	require.NoError(t, err)
	assert.Equal(t, "web: {runs: "+image+"}\n", string(set), "where gitops.images says")

	root = sample(t)
	m.call(t, call{Function: "bump", Root: root, Env: "local", Image: image, Output: root})
	set, err = os.ReadFile(filepath.Join(root, "manifests/overlays/local/kustomization.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(set), "sha256:1111", "nothing of the local platform is asked")
}

// plan asks in a repository, below it, at a tag, and without git.
func (m *module) plan(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"aksflow.yaml": "app: vote\nbuild: {context: app}\nenvironments:\n" +
			"  dev: {branches: [develop], registry: registry.example, manifests: manifests}\n" +
			"  production: {tags: [\"v*\"], registry: \"${REGISTRY}\", target: pull, manifests: manifests, gitops: {repo: \"https://git.example/vote.git\"}}\n",
		"app/Dockerfile":     "FROM scratch\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
	variables := []string{"REGISTRY=registry.example"}
	_, err := m.try(call{Function: "plan", Root: root, Variables: variables, Env: "dev"})
	require.NoError(t, err, "without git, an environment has to be named")
	linked := moved(t, root)
	write(t, linked, map[string]string{".git": "gitdir: /elsewhere/.git/worktrees/linked\n"})
	assert.Contains(t, m.call(t, call{Function: "plan", Root: linked, Variables: variables, Env: "dev"}), "registry.example")

	git := gitIn(t, root)
	git("init", "-q", "-b", "develop")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	commit := git("rev-parse", "HEAD")
	for _, below := range []string{".", "app"} {
		out := m.call(t, call{Function: "plan", Root: root, Below: below, Variables: variables, Format: "json"})
		var plan struct {
			Environment, Target, Repository string
			Source                          struct {
				Commit string
				Dirty  bool
			}
		}
		require.NoError(t, json.Unmarshal([]byte(out), &plan), out)
		assert.Equal(t, "dev", plan.Environment)
		assert.Equal(t, "push", plan.Target)
		assert.Equal(t, "registry.example/vote", plan.Repository)
		assert.Equal(t, commit, plan.Source.Commit)
		assert.False(t, plan.Source.Dirty)
	}
	git("tag", "v1.2.0")
	git("checkout", "-q", "v1.2.0")
	tagged := t.TempDir() // an engine reads a directory once in a session
	require.NoError(t, os.CopyFS(tagged, os.DirFS(root)))
	out := m.call(t, call{Function: "plan", Root: tagged, Variables: variables})
	assert.Contains(t, out, "production")
	assert.Contains(t, out, "publish → bump")
	assert.Contains(t, m.call(t, call{Function: "plan", Root: root, Variables: variables, Ref: "refs/heads/develop", Target: "pull", Env: "production"}), "production")
}

// byPull returns a repository whose environment is delivered to by pull, with a token from a variable.
func (m *module) byPull(t *testing.T) string {
	root := t.TempDir()
	write(t, root, map[string]string{
		"aksflow.yaml": "app: vote\nenvironments:\n  production: {registry: registry.example, target: pull, manifests: manifests, " +
			"gitops: {repo: \"https://git.example/vote.git\", passwordEnv: GIT_TOKEN}}\n" +
			"  after: {from: production, registry: registry.example, manifests: manifests}\n" +
			"  unset: {registry: \"${REGISTRY}\", manifests: manifests}\n",
		"Dockerfile":         "FROM scratch\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
	return root
}

// onBranch returns a repository whose main branch is delivered to the local platform.
func (m *module) onBranch(t *testing.T) string {
	return repositoryOf(t, map[string]string{
		"aksflow.yaml":       "app: vote\nenvironments: {local: {platform: local, branches: [main], manifests: manifests}}\n",
		"Dockerfile":         "FROM scratch\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
}

// withSecrets returns a repository whose build and test need secrets.
func (m *module) withSecrets(t *testing.T) string {
	root := t.TempDir()
	write(t, root, map[string]string{
		"aksflow.yaml": "app: vote\nbuild: {context: ., secrets: {token: {env: TOKEN}}}\n" +
			"test: {unit: {target: test, secrets: {KEY: {file: key.pem}}}}\n",
		"Dockerfile": "FROM nowhere.invalid/base AS test\nRUN --mount=type=secret,id=token true\n",
	})
	return root
}

func (m *module) misuse(t *testing.T) {
	for name, c := range map[string]struct {
		call call
		want string
	}{
		"a build argument": {call{Function: "build", BuildArgs: []string{"nonsense"}}, `--build-args "nonsense": want NAME=VALUE`},
		"no aksflow.yaml":  {call{Function: "build", Root: t.TempDir()}, "there is no aksflow.yaml in this directory or above it"},
		"no repository":    {call{Function: "publish"}, "where to? Name an environment with --env"},
		"no such env":      {call{Function: "plan", Env: "nowhere"}, "--env nowhere: aksflow.yaml has local, "},
		"local platform":   {call{Function: "deploy", Env: "local"}, "the environment local is on the local platform of `aksflow up`"},
		"loopback": {call{Function: "history", Env: "dev", Kubeconfig: "clusters: [{cluster: {server: \"https://127.0.0.1:6443\"}}]\n"},
			"127.0.0.1:6443 is on your machine, and a container cannot reach it there: add `with-cluster --server=tcp://127.0.0.1:6443`"},
		"no program":           {call{Function: "plan", Env: "dev", Aksflow: filepath.Join(root, "go.mod")}, "the aksflow program does not start"},
		"no login to Azure":    {call{Function: "plan", AzureClient: "id", AzureTenant: "id"}, "with-azure: give one of --request-token, --token and --secret"},
		"nothing to sign with": {call{Function: "plan", SigningRequestURL: "https://issuer.example"}, "with-signer: --request-url and --request-token go together"},
		"a flag of its own":    {call{Function: "deliver", Env: "dev", Flag: []string{"--rebuild"}}, "--flag=--rebuild: give --rebuild itself"},
		"a token by no name": {call{Function: "rollback", Root: m.byPull(t), Env: "production"},
			"gitops.passwordEnv of the environment production names the variable GIT_TOKEN, and a container has none of your variables: add `with-git --token=env:GIT_TOKEN`"},
		"a token of the environment before": {call{Function: "promote", Root: m.byPull(t), To: "after"},
			"gitops.passwordEnv of the environment production names the variable GIT_TOKEN, and a container has none of your variables: add `with-git --token=env:GIT_TOKEN`"},
		"half a login": {call{Function: "plan", RegistryUsername: "ann"}, "--username and --password go together"},
		"no cluster":   {call{Function: "history", Root: m.byPull(t), Env: "after"}, "no cluster is configured: add `with-cluster --kubeconfig=file:PATH`"},
		"no variable": {call{Function: "plan", Root: m.byPull(t), Env: "unset"},
			"environments.unset.registry: the variable REGISTRY is not set: add `--variables=REGISTRY=VALUE` before the function"},
		"the local platform by its git ref": {call{Function: "plan", Root: m.onBranch(t), Ref: "refs/heads/main"},
			"the environment is on the local platform of `aksflow up`, which a container cannot look up"},
		"no identity": {call{Function: "history", Env: "dev"}, "no login to Azure is configured: add `with-azure`"},
		"a comma":     {call{Function: "build", BuildArgs: []string{"A=a", "b"}}, "--build-args='\"NAME=a,b\"'"},
		"a secret of the build": {call{Function: "build", Root: m.withSecrets(t)},
			"the build needs the secret token of aksflow.yaml: add `with-build-secret --name=token --value=env:TOKEN`"},
		"a secret of the tests": {call{Function: "test", Root: m.withSecrets(t), BuildSecrets: map[string]string{"token": "s3cr3t"}},
			"the test needs the secret KEY of aksflow.yaml: add `with-test-secret --name=KEY --value=file:key.pem`"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.try(c.call)
			assert.ErrorContains(t, err, c.want)
			assert.Less(t, strings.Count(err.Error(), "\n"), 3, "one error is no page:\n%s", err)
		})
	}
}

// sample returns a copy of the sample and of what belongs to it, which is no git repository.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"app", "manifests"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))))
	}
	text, err := os.ReadFile(filepath.Join(root, "aksflow.yaml"))
	require.NoError(t, err)
	write(t, dir, map[string]string{"aksflow.yaml": string(text)})
	return dir
}

// write writes files below a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
}

// gitIn returns git in a directory.
func gitIn(t *testing.T, dir string) func(args ...string) string {
	return func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
}

// program builds the command.
func program(t *testing.T) string {
	t.Helper()
	aksflow := filepath.Join(t.TempDir(), "aksflow")
	cmd := exec.Command("go", "build", "-o", aksflow, root)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in a container without a C library
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return aksflow
}

// sameGraph builds one application by the module and by the command: both must send the same build, and get the same
// image.
func (m *module) sameGraph(t *testing.T, queries *recorder) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"app/Dockerfile": "ARG BASE\nFROM $BASE\nARG REVISION\nARG EMPTY=full\n" +
			"RUN --mount=type=secret,id=token grep -qx s3cr3t /run/secrets/token && echo \"$REVISION,$EMPTY\" > /seen\n",
		"aksflow.yaml": "app: vote\nbuild: {context: app, args: {BASE: \"${BASE}\", EMPTY: \"\"}, secrets: {token: {env: TOKEN}}}\n",
	})
	git := gitIn(t, dir)
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	config, tarballs := filepath.Join(dir, "aksflow.yaml"), t.TempDir()

	queries.take()
	byModule := filepath.Join(tarballs, "module.tar")
	m.call(t, call{Function: "build", Root: dir, BuildSecrets: map[string]string{"token": "s3cr3t"}, Output: byModule})
	sent := builds(t, queries.take())

	byCommand := filepath.Join(tarballs, "command.tar")
	cmd := exec.Command(m.given.Aksflow, "build", "--engine", "dagger", "-c", config, "-o", byCommand)
	cmd.Env = append(append(os.Environ(), m.session...), "TOKEN=s3cr3t", m.given.Variables[0])
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	require.NotEmpty(t, sent)
	assert.Equal(t, sent, builds(t, queries.take()))
	assert.Equal(t, digestOf(t, byModule), digestOf(t, byCommand))
}

// digestOf returns the digest of the image in a tarball.
func digestOf(t *testing.T, tarball string) string {
	t.Helper()
	built, err := image.Open(tarball)
	require.NoError(t, err)
	defer built.Close()
	return built.Digest().String()
}

// recorder keeps the queries that were sent.
type recorder struct {
	mu      sync.Mutex
	queries []string
}

func (r *recorder) add(query string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, query)
}

// take returns the queries that were sent since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.queries
	r.queries = nil
	return taken
}

// builds returns the different dockerBuild fields of queries, with their arguments in the order of their names. IDs of
// one session are equal for equal objects.
func builds(t *testing.T, queries []string) []string {
	t.Helper()
	var found []string
	var walk func(ast.SelectionSet)
	walk = func(set ast.SelectionSet) {
		for _, selection := range set {
			switch s := selection.(type) {
			case *ast.Field:
				if s.Name == "dockerBuild" {
					slices.SortFunc(s.Arguments, func(a, b *ast.Argument) int { return strings.Compare(a.Name, b.Name) })
					var args []string
					for _, a := range s.Arguments {
						args = append(args, a.Name+": "+a.Value.String())
					}
					found = append(found, strings.Join(args, ", "))
				}
				walk(s.SelectionSet)
			case *ast.InlineFragment:
				walk(s.SelectionSet)
			}
		}
	}
	for _, query := range queries {
		doc, err := parser.ParseQuery(&ast.Source{Input: query})
		require.NoError(t, err)
		for _, op := range doc.Operations {
			walk(op.SelectionSet)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// engineGo is the Go version that the pinned Dagger engine was built with. Its code generator refuses a module with a
// newer `go` line.
const engineGo = "go1.26.5"

// Dagger compiles the module with the whole graph below ci/go.mod, and a dependency that asks for a newer Go raises the
// module's own line.
func TestModuleGraphFitsTheEngine(t *testing.T) {
	cmd := exec.Command("go", "mod", "graph")
	cmd.Dir = filepath.Join(root, "ci")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	graph, err := cmd.Output()
	require.NoError(t, err)
	assert.NotEmpty(t, graph)
	assert.Empty(t, newerThan(string(graph), engineGo), "ask for a newer Go than the engine's %s", engineGo)
	assert.Equal(t, []string{"example.com/b@v1.0.0 wants go1.26.6"},
		newerThan("example.com/a go@1.26.5\nexample.com/b@v1.0.0 go@1.26.6\nexample.com/a example.com/b@v1.0.0\n", engineGo))
}

// newerThan returns the modules of a graph, as `go mod graph` prints it, whose go line is newer than a version of Go.
func newerThan(graph, version string) []string {
	var found []string
	for line := range strings.Lines(graph) {
		module, needs, _ := strings.Cut(strings.TrimSpace(line), " ")
		if line, ok := strings.CutPrefix(needs, "go@"); ok && goversion.Compare("go"+line, version) > 0 {
			found = append(found, module+" wants go"+line)
		}
	}
	return found
}

// module is the compiled module.
type module struct {
	binary  string
	session []string // environment
	given   call     // what a call has unless it says otherwise
}

// call is a function of the module and its arguments: see the type of this name in testdata/standin.
type call struct {
	Root, Below  string // the repository and, from there, the current directory
	Config, Ref  string
	Variables    []string
	BuildArgs    []string
	Aksflow      string
	AksflowImage string
	Source       string
	GoImage      string

	BuildSecrets, TestSecrets          map[string]string
	SSHAgent                           string
	RegistryUsername, RegistryPassword string
	RegistryServer                     string
	GitUsername, GitToken, GitServer   string
	GitSSHAgent, GitKnownHosts         string
	Kubeconfig, ClusterServer          string
	By, RunURL                         string
	AzureClient, AzureTenant           string
	AzureRequestURL, AzureRequestToken string
	AzureConnection                    string
	AzureToken, AzureSecret            string
	AzureProxy, AzureCertificates      string
	SigningKey, SigningPassword        string
	SigningToken                       string
	SigningRequestURL                  string
	SigningRequestToken                string

	Function         string
	Env, Image       string // Image is a tarball's path, or a reference
	Repository       string
	Tags             []string
	Manifests        string
	Replace          []string
	Strict           bool
	Commit, To       string
	Override, ByHand string
	Reason           string
	Revoke           bool
	Target, Strategy string
	Percent          []int
	Hold             bool
	NoRollback       bool
	Rebuild, Retest  bool
	Flag             []string
	Format           string
	Output           string // where a file, directory or change that the function returns is exported to
}

// call makes a call and returns what it prints.
func (m *module) call(t *testing.T, c call) string {
	t.Helper()
	out, err := m.try(c)
	require.NoError(t, err)
	return out
}

func (m *module) try(c call) (string, error) {
	c.Root, c.Aksflow = cmp.Or(c.Root, m.given.Root), cmp.Or(c.Aksflow, m.given.Aksflow)
	c.Variables = append(c.Variables, m.given.Variables...)
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	dir, err := os.MkdirTemp("", "call") // an engine reads a file once in a session, and each call writes its own
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(m.binary)
	cmd.Dir = dir
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), m.session...), bytes.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", errors.New(stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// compile checks and builds the module from what Dagger would upload, and returns the program.
func compile(t *testing.T, client *dagger.Client) string {
	t.Helper()
	var module struct {
		Include []string
		Source  string
	}
	text, err := os.ReadFile(filepath.Join(root, "dagger.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &module))
	dir := t.TempDir()
	_, err = client.Host().Directory(root, dagger.HostDirectoryOpts{
		Include: append([]string{module.Source + "/**"}, module.Include...),
		Exclude: []string{module.Source + "/dagger.gen.go", module.Source + "/internal"},
	}).Export(t.Context(), dir)
	require.NoError(t, err)
	ci := filepath.Join(dir, module.Source)
	require.NoError(t, os.CopyFS(ci, os.DirFS(filepath.Join("testdata", "standin"))))
	run := func(args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = ci
		cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %s:\n%s", strings.Join(args, " "), out)
	}
	if *tidy {
		run("mod", "tidy")
		for _, name := range []string{"go.mod", "go.sum"} {
			text, err := os.ReadFile(filepath.Join(ci, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(root, module.Source, name), text, 0o644))
		}
	}
	binary := filepath.Join(dir, "module")
	run("vet", "./...")
	run("build", "-o", binary, ".")
	return binary
}

// serve lets other processes use the client's session, and returns the environment in which they find it: the one that
// a module's functions have in Dagger.
func serve(t *testing.T, client *dagger.Client, queries *recorder) (env []string) {
	t.Helper()
	const token = "of this test"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != token {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		var request graphql.Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		queries.add(request.Query)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer(r.Context(), client, &request))
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	return []string{"DAGGER_SESSION_PORT=" + u.Port(), "DAGGER_SESSION_TOKEN=" + token}
}

func answer(ctx context.Context, client *dagger.Client, request *graphql.Request) *graphql.Response {
	response := &graphql.Response{Data: new(json.RawMessage)}
	if err := client.GraphQLClient().MakeRequest(ctx, request, response); err != nil {
		failure := &gqlerror.Error{Message: err.Error()}
		var extended interface{ Extensions() map[string]any }
		if errors.As(err, &extended) {
			failure.Extensions = extended.Extensions()
		}
		response = &graphql.Response{Errors: gqlerror.List{failure}}
	}
	return response
}

// list returns the names in a directory.
func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
