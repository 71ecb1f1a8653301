//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// asShim makes the test binary the shim.
const asShim = "AKSFLOW_TEST_AS_SHIM"

func TestMain(m *testing.M) {
	if os.Getenv(asShim) != "" {
		main()
	}
	os.Exit(m.Run())
}

// shim runs the shim and returns its output and exit code.
func shim(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asShim+"=1")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func TestExecKeepsOutputAndExitCode(t *testing.T) {
	for _, test := range []struct {
		script     string
		expect     contract.Expect
		code, exit int // the command's, the shim's
	}{
		{"exit 0", contract.Success, 0, 0},
		{"exit 3", contract.Success, 3, 3},
		{"exit 3", contract.Failure, 3, 0},
		{"exit 0", contract.Failure, 0, contract.UnexpectedSuccess},
		{"exit 0", contract.Any, 0, 0},
		{"exit 127", contract.Any, 127, 0},
		{"exit 192", contract.Any, 192, 0},
		{"exit 255", contract.Any, 255, 0},
		{"exit 130", contract.Any, 130, 130},
		{"kill -KILL $$", contract.Any, 137, 137},
		{"kill -TERM $$", contract.Failure, 143, 143},
	} {
		t.Run(test.script+" "+string(test.expect), func(t *testing.T) {
			dir := t.TempDir()
			stdout, stderr, exit := shim(t, "exec", "-out", dir, "-expect", string(test.expect), "-key", "x", "--",
				"sh", "-c", "echo out; echo err >&2; "+test.script)
			assert.Equal(t, test.exit, exit)
			assert.Equal(t, "out\n", stdout)
			assert.Equal(t, "err\n", stderr)
			for name, want := range map[string]string{
				contract.Stdout: "out\n", contract.Stderr: "err\n", contract.ExitCode: strconv.Itoa(test.code),
			} {
				got, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				assert.Equal(t, want, string(got), name)
			}
		})
	}
}

func TestExecOfWhatIsNoProgram(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte("x"), 0o600))
	for command, want := range map[string]int{"no-such-command": 127, "/no/such/command": 127, text: 126} {
		_, stderr, code := shim(t, "exec", "-out", t.TempDir(), "--", command)
		assert.Equal(t, want, code, command)
		assert.Contains(t, stderr, command)
	}
	_, stderr, code := shim(t, "exec", "-out", t.TempDir(), "--")
	assert.Equal(t, 127, code)
	assert.Contains(t, stderr, "no command")
}

func TestExecDoesNotWaitForTheBackground(t *testing.T) {
	began := time.Now()
	stdout, _, code := shim(t, "exec", "-out", t.TempDir(), "--", "sh", "-c", "sleep 5 & echo done")
	assert.Zero(t, code)
	assert.Equal(t, "done\n", stdout)
	assert.Less(t, time.Since(began), 4*time.Second)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"-h"}, {"other"}} {
		_, stderr, code := shim(t, args...)
		assert.Equal(t, 2, code)
		assert.Contains(t, stderr, "started by aksflow")
	}
}
