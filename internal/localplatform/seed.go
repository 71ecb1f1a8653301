package localplatform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// repositoryNames matches the names that a repository may have: path segments that start with a letter, digit or
// underscore.
var repositoryNames = regexp.MustCompile(`^\w[\w.-]*(/\w[\w.-]*)*$`)

// Seed makes the bare repository name unless it exists, and commits the files of the directory dir as the first commit
// of branch, without those that dir's .gitignore names. A branch that exists stays as it is. Seed returns the branch's
// commit.
func (i *Info) Seed(ctx context.Context, name, branch, dir string) (commit string, err error) {
	commit, err = seed(ctx, State(i.State).Repositories(), name, branch, dir)
	if err != nil {
		return "", fmt.Errorf("seeding branch %s of the repository %s with %s: %w", branch, name, dir, err)
	}
	return commit, nil
}

func seed(ctx context.Context, root, name, branch, dir string) (commit string, err error) {
	repository, err := createRepository(ctx, root, name)
	if err != nil {
		return "", err
	}
	gitRef := "refs/heads/" + branch
	if commit, err := git(ctx, nil, "--git-dir="+repository, "rev-parse", "--verify", "--quiet", gitRef); err == nil {
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
	// GIT_DIR and GIT_WORK_TREE keep git from using a repository that dir is a clone of.
	env := []string{
		"GIT_DIR=" + repository, "GIT_WORK_TREE=" + dir, "GIT_INDEX_FILE=" + filepath.Join(index, "index"),
		"GIT_AUTHOR_NAME=aksflow", "GIT_AUTHOR_EMAIL=aksflow@localhost",
		"GIT_COMMITTER_NAME=aksflow", "GIT_COMMITTER_EMAIL=aksflow@localhost",
	}
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
	// The all-zero old value makes git refuse when somebody has pushed the branch meanwhile.
	if _, err := git(ctx, env, "update-ref", gitRef, commit, strings.Repeat("0", len(commit))); err != nil {
		return "", err
	}
	return commit, nil
}

// createRepository makes the bare repository name below root, with main as its default branch, unless it exists. It
// returns the repository's directory.
func createRepository(ctx context.Context, root, name string) (string, error) {
	if !repositoryNames.MatchString(name) || strings.HasSuffix(name, ".git") {
		return "", fmt.Errorf("a repository cannot be called %q: use letters, digits, dots, dashes and slashes, without .git", name)
	}
	dir := filepath.Join(root, filepath.FromSlash(name)+".git")
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	// The repository is made under another name and renamed, so that nobody sees half of one.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	if _, err := git(ctx, nil, "init", "--quiet", "--bare", "--initial-branch=main", temporary); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, dir); err != nil && !errors.Is(err, fs.ErrExist) { // another call may have made it
		return "", err
	}
	return dir, nil
}

// git runs git without the configuration of the user and of the machine, and returns the first line that it prints.
func git(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
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
