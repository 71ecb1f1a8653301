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
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/Khan/genqlient/graphql"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vektah/gqlparser/v2/gqlerror"

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
	s, err := engine.Connect(t.Context(), engine.Options{Engine: engine.Embedded})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	host := registrytest.Start(t)
	m := &module{
		binary:  compile(t, s.Client()),
		session: serve(t, s.Client()),
		given: call{
			Source:    filepath.Join(root, "app"),
			Config:    filepath.Join(root, "aksflow.yaml"),
			Variables: []string{"BASE=" + host + "/" + baseimage.Debian},
		},
	}
	tarball := filepath.Join(t.TempDir(), "image.tar")
	digest := ""

	t.Run("Build", func(t *testing.T) {
		m.call(t, call{Function: "build", Output: tarball, BuildArgs: []string{"REVISION=abc"}})
		built, err := image.Open(tarball)
		require.NoError(t, err)
		defer built.Close()
		digest = built.Digest().String()
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
		pushed, err := image.Resolve(t.Context(), repository+":v1", image.Registry{})
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

	t.Run("Misuse", func(t *testing.T) {
		_, err := m.try(call{Function: "build", BuildArgs: []string{"nonsense"}})
		assert.ErrorContains(t, err, `--build-args "nonsense": want NAME=VALUE`)
	})
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
	Image, Repository       string
	SecretName, SecretValue string
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
func serve(t *testing.T, client *dagger.Client) (env []string) {
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
