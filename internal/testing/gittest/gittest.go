// Package gittest serves git repositories to tests, with git's own programs.
package gittest

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

// Server is git's own smart-HTTP server with a password, over bare repositories in a directory.
type Server struct {
	*httptest.Server
	Dir string // of the repositories
}

// Token is the password of every server.
const Token = "correct-horse"

// NewServer starts a server. It skips the test where git is not installed.
func NewServer(t testing.TB) *Server {
	t.Helper()
	backend := gitBackend(t)
	s := &Server{Dir: t.TempDir()}
	handler := &cgi.Handler{
		Path: backend,
		Env:  []string{"GIT_PROJECT_ROOT=" + s.Dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.Dir},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(password), []byte(Token)) != 1 {
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

// Repository is a bare repository on a server, with a work tree to commit as somebody else.
type Repository struct {
	t    testing.TB
	Bare string // its directory on the server
	Work string // a work tree
	URL  string
}

// Repo makes a repository with files on branch main.
func (s *Server) Repo(t testing.TB, name string, files map[string]string) *Repository {
	t.Helper()
	r := &Repository{t: t, Bare: filepath.Join(s.Dir, name+".git"), Work: t.TempDir(), URL: s.URL + "/" + name + ".git"}
	r.Run(s.Dir, "init", "-q", "--bare", "-b", "main", r.Bare)
	r.Run(s.Dir, "-C", r.Bare, "config", "http.receivepack", "true")
	r.Run(r.Work, "init", "-q", "-b", "main", ".")
	r.Run(r.Work, "remote", "add", "origin", r.Bare)
	r.Commit("first", files)
	return r
}

// Run calls git without the user's settings, and returns what it printed.
func (r *Repository) Run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// Commit writes files and pushes them to the directory of the bare repository, not through the server.
func (r *Repository) Commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		full := filepath.Join(r.Work, name)
		require.NoError(r.t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(r.t, os.WriteFile(full, []byte(content), 0o644))
	}
	r.Run(r.Work, "add", "-A")
	r.Run(r.Work, "commit", "-q", "-m", message)
	r.Run(r.Work, "push", "-q", "origin", "HEAD:main")
	return r.Run(r.Work, "rev-parse", "HEAD")
}

// Pull sets the work tree to what the server has.
func (r *Repository) Pull() {
	r.t.Helper()
	r.Run(r.Work, "fetch", "-q", "origin", "main")
	r.Run(r.Work, "reset", "-q", "--hard", "FETCH_HEAD")
}

// Show returns a file on a branch of the server.
func (r *Repository) Show(branch, file string) string {
	r.t.Helper()
	return r.Run(r.Bare, "show", branch+":"+file)
}

// Hook installs a hook on the server.
func (r *Repository) Hook(name, script string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.Bare, "hooks", name), []byte("#!/bin/sh\n"+script), 0o755))
}

// Deployment is a manifest with one image.
func Deployment(name, image string) string {
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

// Digest returns a digest that is well-formed.
func Digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// WorkTree makes a repository on disk. It skips the test where git is not installed.
func WorkTree(t testing.TB) *Repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git, whose answers the test compares with")
	}
	r := &Repository{t: t, Work: t.TempDir()}
	r.Run(r.Work, "init", "-q", "-b", "main", ".")
	return r
}

// Write writes a file into the work tree.
func (r *Repository) Write(name, content string) {
	r.t.Helper()
	full := filepath.Join(r.Work, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(r.t, os.WriteFile(full, []byte(content), 0o644))
}

// Record commits everything in the work tree, and returns the commit.
func (r *Repository) Record(message string) string {
	r.t.Helper()
	r.Run(r.Work, "add", "-A")
	r.Run(r.Work, "commit", "-q", "--allow-empty", "-m", message)
	return r.Run(r.Work, "rev-parse", "HEAD")
}
