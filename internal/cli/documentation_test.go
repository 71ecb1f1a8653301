package cli

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5"
	gitconfig "github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/docstest"
)

// TestDocumentedCommands parses each command of aksflow that the documentation shows: its verb is there, and takes its
// flags.
func TestDocumentedCommands(t *testing.T) {
	commands, err := docstest.Commands(filepath.Join("..", ".."))
	require.NoError(t, err)
	for _, command := range commands {
		root := newRoot(&globals{})
		c, rest, err := root.Find(slices.DeleteFunc(slices.Clone(command.Words), docstest.Placeholder))
		if !assert.NoError(t, err, command) || c.Name() == "run" {
			continue
		}
		assert.NotEqual(t, root, c, command)
		for _, word := range rest {
			name, long := strings.CutPrefix(word, "--")
			name, _, _ = strings.Cut(name, "=")
			assert.True(t, !long || hasFlag(c, name), "%s: no --%s", command, name)
		}
	}
}

// TestDocumentedCommandsRun runs those that need neither a cluster nor an engine, in a copy of this repository's sample.
// The others run in the rooms that docstest names, which check that they have run them all.
func TestDocumentedCommandsRun(t *testing.T) {
	commands, err := docstest.Commands(filepath.Join("..", ".."))
	require.NoError(t, err)
	sample, bare := sampleRepository(t), sampleRepository(t)
	require.NoError(t, os.Remove(filepath.Join(bare, "aksflow.yaml")))
	kubeconfig := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(`{apiVersion: v1, kind: Config, current-context: x,
clusters: [{name: c, cluster: {server: "https://cluster.example"}}],
users: [{name: u, user: {token: t}}], contexts: [{name: x, context: {cluster: c, user: u}}]}`), 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	values := map[string]string{"DIRECTORY": t.TempDir(), "NAME": "gitlab", "OWNER/NAME": "team/vote", "FILE": filepath.Join(t.TempDir(), "static")}

	done := map[string]bool{}
	var runs docstest.Runs
	for _, c := range commands {
		line := strings.Join(c.Words, " ")
		if c.Room() != docstest.CLI || done[line] {
			continue
		}
		done[line] = true
		args := []string{"--state", t.TempDir()}
		for _, word := range c.Words {
			if docstest.Placeholder(word) {
				require.Contains(t, slices.Collect(maps.Keys(values)), word, "%s: what does it stand for?", c)
				word = values[word]
			}
			args = append(args, word)
		}
		t.Run(line, func(t *testing.T) {
			t.Chdir(sample)
			if c.Words[0] == "init" && !slices.Contains(c.Words, "azure") {
				t.Chdir(bare)
			}
			stdout, stderr, code := execute(t, args...)
			assert.Zero(t, code, stderr)
			assert.NotEmpty(t, stdout+stderr, "it says something")
			runs.Add(c.Words)
		})
	}
	assert.Empty(t, runs.Missing(commands, docstest.CLI))
}

// execute runs the command line in this process.
func execute(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out bytes.Buffer
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer log.Close()
	g := &globals{stdout: &out, stderr: log, version: "v0.0.0-test"}
	code = g.execute(t.Context(), args)
	text, err := os.ReadFile(log.Name())
	require.NoError(t, err)
	return out.String(), string(text), code
}

// sampleRepository is a git repository with a copy of the sample on a branch that no environment takes.
func sampleRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"app", "manifests"} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("..", "..", name))))
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "aksflow.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "aksflow.yaml"), text, 0o644))
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: "refs/heads/feature/x"}})
	require.NoError(t, err)
	_, err = repo.CreateRemote(&gitconfig.RemoteConfig{Name: "origin", URLs: []string{"git@github.com:team/vote.git"}})
	require.NoError(t, err)
	tree, err := repo.Worktree()
	require.NoError(t, err)
	require.NoError(t, tree.AddWithOptions(&git.AddOptions{All: true}))
	_, err = tree.Commit("As it is", &git.CommitOptions{Author: &object.Signature{Name: "Test", Email: "test@aksflow.example"}})
	require.NoError(t, err)
	return dir
}
