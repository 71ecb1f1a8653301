package gitserver

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs git as a user would, without asking for a password.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestServer(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	s := &Server{Root: t.TempDir(), User: "me", Password: "se:cret"}
	handler, err := s.Handler()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	with := func(user string) string { return strings.Replace(server.URL, "//", "//"+user+"@", 1) }

	if out, err := run(t, "", "init", "--quiet", "--bare", "--initial-branch=main", filepath.Join(s.Root, "team", "app.git")); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}

	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := run(t, "", "clone", with("me:se%3Acret")+"/team/app.git", clone); err != nil {
		t.Fatalf("clone: %v\n%s", err, out)
	}
	if out, err := run(t, clone, "commit", "--allow-empty", "-m", "more"); err != nil {
		t.Fatalf("commit: %v\n%s", err, out)
	}
	if out, err := run(t, clone, "push", "origin", "HEAD:main"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	head, _ := run(t, clone, "rev-parse", "HEAD")
	if pushed, err := run(t, "", "ls-remote", with("me:se%3Acret")+"/team/app.git", "refs/heads/main"); err != nil || !strings.HasPrefix(pushed, strings.TrimSpace(head)) {
		t.Errorf("main is at %q, want %s (%v)", pushed, head, err)
	}

	for name, url := range map[string]string{
		"no password":    server.URL + "/team/app.git",
		"wrong password": with("me:wrong") + "/team/app.git",
		"no repository":  with("me:se%3Acret") + "/team/other.git",
		"outside":        with("me:se%3Acret") + "/../app.git",
	} {
		if out, err := run(t, "", "ls-remote", url); err == nil {
			t.Errorf("%s: ls-remote prints %q", name, out)
		}
	}
}
