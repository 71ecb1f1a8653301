// Package gitserver serves bare repositories over smart HTTP to who knows the password: git's own `git http-backend`,
// so that a push is checked and answered as it is by any server that runs git.
package gitserver

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Server is a directory of bare repositories, NAME.git each.
type Server struct {
	Root           string
	User, Password string
}

// names are what a repository may be called: path segments that start with a letter, digit or underscore.
var names = regexp.MustCompile(`^\w[\w.-]*(/\w[\w.-]*)*$`)

// Handler serves clone, fetch and push, each with the password.
func (s *Server) Handler() (http.Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("serving git: %w; install Debian's package git", err)
	}
	backend := &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1",
			// No configuration but each repository's own: the user's might rewrite URLs or sign.
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if !same(user, s.User) || !same(password, s.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "wrong user or password", http.StatusUnauthorized)
			return
		}
		b := *backend
		b.Env = append(b.Env[:len(b.Env):len(b.Env)], "REMOTE_USER="+user) // a push needs one
		b.ServeHTTP(w, r)
	}), nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Create makes the bare repository name, with main as its default branch. One that is there stays as it is.
func (s *Server) Create(ctx context.Context, name string) error {
	dir, err := s.dir(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making the repository %s: %w", name, err)
	}
	// Beside its place first, so that a repository is either there or not.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("making the repository %s: %w", name, err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return fmt.Errorf("making the repository %s: %w", name, err)
	}
	defer os.RemoveAll(temporary)
	if _, err := git(ctx, nil, "init", "--quiet", "--bare", "--initial-branch=main", temporary); err != nil {
		return fmt.Errorf("making the repository %s: %w", name, err)
	}
	err = os.Rename(temporary, dir)
	if errors.Is(err, fs.ErrExist) { // another was quicker
		return nil
	}
	if err != nil {
		return fmt.Errorf("making the repository %s: %w", name, err)
	}
	return nil
}

// Seed creates the repository name unless it is there, and commits the files of the directory dir as the first commit
// of branch; what dir's .gitignore names stays out. A branch that exists stays as it is. It returns the branch's commit.
func (s *Server) Seed(ctx context.Context, name, branch, dir string) (commit string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("seeding branch %s of the repository %s with %s: %w", branch, name, dir, err)
		}
	}()
	if err := s.Create(ctx, name); err != nil {
		return "", err
	}
	repository, err := s.dir(name)
	if err != nil {
		return "", err
	}
	ref := "refs/heads/" + branch
	if commit, err := git(ctx, nil, "--git-dir="+repository, "rev-parse", "--verify", "--quiet", ref); err == nil {
		return commit, nil
	}
	index, err := os.MkdirTemp("", "aksflow-seed")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(index)
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	env := []string{
		"GIT_DIR=" + repository, "GIT_WORK_TREE=" + dir, "GIT_INDEX_FILE=" + filepath.Join(index, "index"),
		"GIT_AUTHOR_NAME=aksflow", "GIT_AUTHOR_EMAIL=aksflow@localhost",
		"GIT_COMMITTER_NAME=aksflow", "GIT_COMMITTER_EMAIL=aksflow@localhost",
	}
	// The directory may be a clone of something else; --git-dir and its kin keep git from looking there.
	if _, err := git(ctx, env, "-C", dir, "add", "--all", "."); err != nil {
		return "", err
	}
	tree, err := git(ctx, env, "write-tree")
	if err != nil {
		return "", err
	}
	if commit, err = git(ctx, env, "commit-tree", "-m", "Start from "+filepath.Base(dir), tree); err != nil {
		return "", err
	}
	// The last argument says that the branch must not be there: a push may have come between.
	if _, err := git(ctx, env, "update-ref", ref, commit, strings.Repeat("0", len(commit))); err != nil {
		return "", err
	}
	return commit, nil
}

func (s *Server) dir(name string) (string, error) {
	if !names.MatchString(name) || strings.HasSuffix(name, ".git") {
		return "", fmt.Errorf("a repository cannot be called %q: use letters, digits, dots, dashes and slashes, without .git", name)
	}
	return filepath.Join(s.Root, filepath.FromSlash(name)+".git"), nil
}

// git runs git and returns the first line it prints.
func git(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	cmd.Env = append(cmd.Env, env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}
