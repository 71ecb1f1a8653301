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
		given: call{
			Source:    filepath.Join(root, "app"),
			Config:    filepath.Join(root, "aksflow.yaml"),
			Variables: []string{"BASE=" + host + "/" + baseimage.Debian},
		},
	}
	tarball := filepath.Join(t.TempDir(), "image.tar")
	digest := ""

	t.Run("Build", func(t *testing.T) {
		m.call(t, call{Function: "build", Output: tarball})
		digest = digestOf(t, tarball)
	})

	t.Run("SameGraphAsTheCommand", func(t *testing.T) { m.sameGraph(t, queries) })

	t.Run("Test", func(t *testing.T) {
		assert.Regexp(t, `^\d+ passed$`, m.call(t, call{Function: "test", Image: tarball}))
	})

	t.Run("TestReports", func(t *testing.T) {
		dir := t.TempDir()
		m.call(t, call{Function: "test-reports", Image: tarball, Output: dir})
		assert.Equal(t, []string{"integration.xml", "unit.xml"}, list(t, dir))
	})

	t.Run("FailingTest", func(t *testing.T) {
		broken := filepath.Join(t.TempDir(), "app")
		require.NoError(t, os.CopyFS(broken, os.DirFS(m.given.Source)))
		require.NoError(t, os.WriteFile(filepath.Join(broken, "tests", "unit", "test_broken.py"),
			[]byte("def test_that_fails():\n    assert 1 == 2\n"), 0o644))
		_, err := m.try(call{Function: "test", Source: broken, Image: tarball})
		assert.ErrorContains(t, err, "test_that_fails")
		dir := t.TempDir()
		m.call(t, call{Function: "test-reports", Source: broken, Image: tarball, Output: dir})
		assert.Equal(t, []string{"integration.xml", "unit.xml"}, list(t, dir))
	})

	t.Run("Publish", func(t *testing.T) {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		defer server.Close()
		repository := strings.TrimPrefix(server.URL, "http://") + "/vote"
		assert.Equal(t, repository+"@"+digest, m.call(t, call{Function: "publish", Image: tarball, Repository: repository}))
		pushed, err := crane.Digest(repository + ":v1")
		require.NoError(t, err)
		assert.Equal(t, digest, pushed)
	})

	t.Run("PublishTestsFirst", func(t *testing.T) {
		broken := filepath.Join(t.TempDir(), "app")
		require.NoError(t, os.CopyFS(broken, os.DirFS(m.given.Source)))
		require.NoError(t, os.WriteFile(filepath.Join(broken, "vote", "wsgi.py"), []byte("raise SystemExit('no')\n"), 0o644))
		_, err := m.try(call{Function: "publish", Source: broken, Repository: "127.0.0.1:9/vote"})
		assert.ErrorContains(t, err, "nothing was pushed")
	})

	t.Run("BuildSecret", func(t *testing.T) {
		source := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(source, "Dockerfile"),
			[]byte("ARG BASE\nFROM $BASE\nRUN --mount=type=secret,id=token grep -qx s3cr3t /run/secrets/token\n"), 0o600))
		m.call(t, call{
			Function: "build", Source: source, SecretName: "token", SecretValue: "s3cr3t",
			Output: filepath.Join(t.TempDir(), "image.tar"),
		})
	})

	t.Run("TestSecretAndSSHAgent", func(t *testing.T) {
		dir := t.TempDir()
		socket := filepath.Join(dir, "agent.sock")
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		defer listener.Close()
		for name, text := range map[string]string{
			"Dockerfile": "ARG BASE\nFROM $BASE AS test\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && mkdir /reports\n" +
				`CMD ["sh", "-c", "test \"$TOKEN\" = s3cr3t && echo '<testsuite name=\"s\"><testcase name=\"n\"/></testsuite>' > /reports/r.xml"]` + "\n",
			"aksflow.yaml": "app: vote\nbuild: {context: ., args: {BASE: \"${BASE}\"}}\n" +
				"test: {unit: {target: test, secrets: {TOKEN: {env: TOKEN}}}}\n",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		given := call{Function: "test", Source: dir, Config: filepath.Join(dir, "aksflow.yaml"), SSHAgent: socket, TestSecret: "s3cr3t"}
		assert.Equal(t, "1 passed", m.call(t, given))
		given.TestSecret = "another"
		_, err = m.try(given)
		assert.Error(t, err)
		given.SSHAgent = ""
		_, err = m.try(given)
		assert.Error(t, err)
	})

	t.Run("Misuse", func(t *testing.T) {
		_, err := m.try(call{Function: "build", BuildArgs: []string{"nonsense"}})
		assert.ErrorContains(t, err, `--build-args "nonsense": want NAME=VALUE`)
	})
}

// sameGraph builds one application by the module and by the command: both must send the same build, and get the same
// image.
func (m *module) sameGraph(t *testing.T, queries *recorder) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"app/Dockerfile": "ARG BASE\nFROM $BASE\nARG REVISION\nARG EMPTY=full\n" +
			"RUN --mount=type=secret,id=token grep -qx s3cr3t /run/secrets/token && echo \"$REVISION,$EMPTY\" > /seen\n",
		"aksflow.yaml": "app: vote\nbuild: {context: app, args: {BASE: \"${BASE}\", EMPTY: \"\"}, secrets: {token: {env: TOKEN}}}\n",
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	config, tarballs := filepath.Join(dir, "aksflow.yaml"), t.TempDir()

	queries.take()
	byModule := filepath.Join(tarballs, "module.tar")
	m.call(t, call{
		Function: "build", Source: filepath.Join(dir, "app"), Config: config, Commit: git("rev-parse", "HEAD"),
		SecretName: "token", SecretValue: "s3cr3t", Output: byModule,
	})
	sent := builds(t, queries.take())

	aksflow := filepath.Join(t.TempDir(), "aksflow")
	out, err := exec.Command("go", "build", "-o", aksflow, root).CombinedOutput()
	require.NoError(t, err, "%s", out)
	byCommand := filepath.Join(tarballs, "command.tar")
	cmd := exec.Command(aksflow, "build", "--engine", "dagger", "-c", config, "-o", byCommand)
	cmd.Env = append(append(os.Environ(), m.session...), "TOKEN=s3cr3t", m.given.Variables[0])
	out, err = cmd.CombinedOutput()
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
	Function                string
	Source, Config          string
	Variables, BuildArgs    []string
	Commit                  string
	Image, Repository       string
	SecretName, SecretValue string
	TestSecret, SSHAgent    string
	Output                  string
}

// call makes a call and returns what it prints.
func (m *module) call(t *testing.T, c call) string {
	t.Helper()
	out, err := m.try(c)
	require.NoError(t, err)
	return out
}

func (m *module) try(c call) (string, error) {
	c.Source, c.Config = cmp.Or(c.Source, m.given.Source), cmp.Or(c.Config, m.given.Config)
	c.Variables = append(c.Variables, m.given.Variables...)
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(m.binary)
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
		cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
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
