package gitops

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// server is git's own smart-HTTP server with a password, over bare repositories in a directory.
type server struct {
	*httptest.Server
	dir string
}

const serverToken = "correct-horse"

func newServer(t testing.TB) *server {
	t.Helper()
	backend := gitBackend(t)
	s := &server{dir: t.TempDir()}
	handler := &cgi.Handler{
		Path: backend,
		Env:  []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.dir},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(password), []byte(serverToken)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		r.Header.Set("Remote-User", "someone")
		h := *handler
		h.Env = append(h.Env[:len(h.Env):len(h.Env)], "REMOTE_USER=someone")
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func gitBackend(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs git, whose server the test runs")
	}
	require.NoError(t, err)
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("needs git-http-backend")
	}
	return backend
}

// repository is a bare repository on the server, with a work tree to look at it and to commit as somebody else.
type repository struct {
	t    testing.TB
	bare string
	work string
	url  string
}

// repo makes a repository with files on branch main.
func (s *server) repo(t testing.TB, name string, files map[string]string) *repository {
	t.Helper()
	r := &repository{t: t, bare: filepath.Join(s.dir, name+".git"), work: t.TempDir(), url: s.URL + "/" + name + ".git"}
	r.run(s.dir, "init", "-q", "--bare", "-b", "main", r.bare)
	r.run(s.dir, "-C", r.bare, "config", "http.receivepack", "true")
	r.run(r.work, "init", "-q", "-b", "main", ".")
	r.run(r.work, "remote", "add", "origin", r.bare)
	r.commit("first", files)
	return r
}

// run calls git with settings of its own.
func (r *repository) run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// commit writes files and pushes them, past the server.
func (r *repository) commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		full := filepath.Join(r.work, name)
		require.NoError(r.t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(r.t, os.WriteFile(full, []byte(content), 0o644))
	}
	r.run(r.work, "add", "-A")
	r.run(r.work, "commit", "-q", "-m", message)
	r.run(r.work, "push", "-q", "origin", "HEAD:main")
	return r.run(r.work, "rev-parse", "HEAD")
}

// pull brings the work tree to the server's state.
func (r *repository) pull() {
	r.t.Helper()
	r.run(r.work, "fetch", "-q", "origin", "main")
	r.run(r.work, "reset", "-q", "--hard", "FETCH_HEAD")
}

// show is a file on the server's branch.
func (r *repository) show(branch, file string) string {
	r.t.Helper()
	return r.run(r.bare, "show", branch+":"+file)
}

// hook installs a hook on the server.
func (r *repository) hook(name, script string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.bare, "hooks", name), []byte("#!/bin/sh\n"+script), 0o755))
}

func (r *repository) remote() Remote {
	return Remote{URL: r.url, Auth: Auth{Token: serverToken}}
}

// deployment is a manifest with one image.
func deployment(name, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %s # the front end
spec:
  template:
    spec:
      containers:
      - name: app
        image: %s # keep me
`, name, image)
}

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }
