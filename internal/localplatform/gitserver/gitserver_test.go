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

	source := t.TempDir()
	for name, content := range map[string]string{"a.yaml": "a: 1\n", ".gitignore": "out\n", "out": "no"} {
		if err := os.WriteFile(filepath.Join(source, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first, err := s.Seed(t.Context(), "team/app", "main", source)
	if err != nil {
		t.Fatal(err)
	}

	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := run(t, "", "clone", with("me:se%3Acret")+"/team/app.git", clone); err != nil {
		t.Fatalf("clone: %v\n%s", err, out)
	}
	if out, _ := run(t, clone, "ls-files"); out != ".gitignore\na.yaml\n" {
		t.Errorf("the clone holds %q", out)
	}
	if out, err := run(t, clone, "commit", "--allow-empty", "-m", "more"); err != nil {
		t.Fatalf("commit: %v\n%s", err, out)
	}
	if out, err := run(t, clone, "push"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	second, err := s.Seed(t.Context(), "team/app", "main", source)
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := run(t, clone, "rev-parse", "HEAD"); second == first || second != strings.TrimSpace(head) {
		t.Errorf("seeding again returns %s, the branch is at %s", second, head)
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

func TestNames(t *testing.T) {
	s := &Server{Root: t.TempDir()}
	for _, name := range []string{"", ".", "..", "../x", "/x", "x/", "x//y", "x/../y", ".hidden", "x.git", "a b", "-x"} {
		if err := s.Create(t.Context(), name); err == nil {
			t.Errorf("Create(%q) made one", name)
		}
	}
}
