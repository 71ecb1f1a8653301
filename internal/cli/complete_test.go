package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// output executes a command line, and returns what it prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	g := &globals{stdout: &stdout, stderr: stderr}
	require.Zero(t, g.execute(t.Context(), args))
	return stdout.String()
}

// The script for bash completes in a shell that has no package bash-completion.
func TestCompletionInPlainBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	script := output(t, "completion", "bash") + `
compopt() { :; } # the shell has it while it completes
aksflow() { echo "$*" >>"$ASKED"; printf 'dev\nproduction\n:4\n'; }
complete_at() {
	COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
	read -ra COMP_WORDS <<<"$1"
	COMP_CWORD=${#COMP_WORDS[@]}
	__start_aksflow
	echo "${COMPREPLY[*]}"
}
complete_at 'aksflow deploy --env '
complete_at 'aksflow deploy --env pro'
complete_at 'aksflow deploy --env=d'
complete_at 'aksflow '
`
	file := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(bash, "--norc", "--noprofile", "-u", file)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	asked := filepath.Join(t.TempDir(), "asked")
	cmd.Env = append(os.Environ(), "ASKED="+asked)
	require.NoError(t, cmd.Run(), stderr.String())
	assert.Equal(t, "dev production\nproduction\ndev\ndev production\n", stdout.String())
	assert.Empty(t, stderr.String())
	questions, err := os.ReadFile(asked)
	require.NoError(t, err)
	assert.Equal(t, "__complete deploy --env \n__complete deploy --env pro\n__complete deploy --env=d\n__complete \n", string(questions))
}

// The number of manual pages is that of those that were written, in a directory that has others, too.
func TestManualPagesAreCounted(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "git.1"), nil, 0o600))
	said := output(t, "man", dir)
	pages, err := filepath.Glob(filepath.Join(dir, "aksflow*.1"))
	require.NoError(t, err)
	var r manResult
	r.Directory, r.Pages = dir, len(pages)
	var want bytes.Buffer
	r.Text(&want)
	assert.Equal(t, want.String(), said)
}
