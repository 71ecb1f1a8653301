package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// exec judges withExec and what can be asked of it.
func (r *rig) exec(t *testing.T) {
	t.Run("Output", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithExec(bash("echo out; echo err >&2; printf 'no newline'"))
		stdout, err := c.Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "out\nno newline", stdout)
		stderr, err := c.Stderr(ctx)
		require.NoError(t, err)
		assert.Equal(t, "err\n", stderr)
		code, err := c.ExitCode(ctx)
		require.NoError(t, err)
		assert.Zero(t, code)
	})

	t.Run("OutputIsOfTheLastCommand", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithExec(bash("echo first")).WithExec(bash("echo second")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "second\n", out)
	})

	t.Run("OutputIsWhole", func(t *testing.T) {
		t.Parallel()
		const lines = 100_000
		out, err := r.fresh().WithExec(bash(fmt.Sprintf("seq -w %d", lines))).Stdout(within(t))
		require.NoError(t, err)
		assert.Len(t, out, lines*len("000001\n"))
		assert.True(t, strings.HasPrefix(out, "000001\n") && strings.HasSuffix(out, "100000\n"))
	})

	t.Run("FailureIsTyped", func(t *testing.T) {
		t.Parallel()
		cmd := bash("echo to stdout; echo to stderr >&2; exit 3")
		for name, leaf := range map[string]func(*dagger.Container) error{
			"stdout": func(c *dagger.Container) error { _, err := c.Stdout(t.Context()); return err },
			"sync":   func(c *dagger.Container) error { _, err := c.Sync(t.Context()); return err },
			"file":   func(c *dagger.Container) error { _, err := c.File("/etc/passwd").Contents(t.Context()); return err },
			"later":  func(c *dagger.Container) error { _, err := c.WithExec(bash("true")).Stdout(t.Context()); return err },
		} {
			err := leaf(r.base().WithExec(cmd))
			var failed *dagger.ExecError
			require.ErrorAs(t, err, &failed, name)
			assert.Equal(t, 3, failed.ExitCode, name)
			assert.Equal(t, cmd, failed.Cmd, name)
			assert.Equal(t, "to stdout", strings.TrimSpace(failed.Stdout), name)
			assert.Equal(t, "to stderr", strings.TrimSpace(failed.Stderr), name)
			assert.ErrorContains(t, err, "exit code: 3", name)
		}
	})

	t.Run("ExpectAny", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		for _, want := range []int{0, 1, 127, 192, 255} {
			c := r.base().WithExec(bash(fmt.Sprintf("echo kept > /kept; echo said; exit %d", want)),
				dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
			code, err := c.ExitCode(ctx)
			require.NoError(t, err, "exit %d", want)
			assert.Equal(t, want, code)
			out, err := c.Stdout(ctx)
			require.NoError(t, err, "exit %d", want)
			assert.Equal(t, "said\n", out)
			kept, err := c.File("/kept").Contents(ctx)
			require.NoError(t, err, "exit %d", want)
			assert.Equal(t, "kept\n", kept, "what a command wrote before it failed")
		}
	})

	t.Run("ExpectAnyStopsAtSignals", func(t *testing.T) {
		t.Parallel()
		for signal, want := range map[string]int{"KILL": 137, "TERM": 143} {
			_, err := r.fresh().WithExec(bash("kill -"+signal+" $$; sleep 60"),
				dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}).ExitCode(within(t))
			var failed *dagger.ExecError
			require.ErrorAs(t, err, &failed, signal)
			assert.Equal(t, want, failed.ExitCode, signal)
		}
	})

	t.Run("ExpectFailure", func(t *testing.T) {
		t.Parallel()
		opts := dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeFailure}
		code, err := r.base().WithExec(bash("exit 4"), opts).ExitCode(within(t))
		require.NoError(t, err)
		assert.Equal(t, 4, code)
		_, err = r.base().WithExec(bash("true"), opts).Sync(within(t))
		assert.Error(t, err, "success where failure was expected")
	})

	t.Run("CommandNotFound", func(t *testing.T) {
		t.Parallel()
		_, err := r.base().WithExec([]string{"no-such-command", "-v"}).Sync(within(t))
		var failed *dagger.ExecError
		require.ErrorAs(t, err, &failed)
		assert.NotZero(t, failed.ExitCode)
		assert.Contains(t, failed.Error()+failed.Stderr, "no-such-command")
	})

	t.Run("NothingRan", func(t *testing.T) {
		t.Parallel()
		_, err := r.Container().Stdout(within(t))
		assert.Error(t, err, "there is no output before a command has run")
	})

	t.Run("Environment", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().
			WithEnvVariable("A", "first").WithEnvVariable("A", "second").WithEnvVariable("EMPTY", "").
			WithEnvVariable("B", "a b'\"$HOME\n\\").
			WithExec(bash(`printf '%s|%s|%s|' "$A" "${EMPTY-unset}" "$B"; command -v perl`)).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "second||a b'\"$HOME\n\\|/usr/bin/perl\n", out)
	})

	t.Run("EnvironmentIsLeftAlone", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithEnvVariable("MINE", "1").WithExec([]string{"env"}).Stdout(within(t))
		require.NoError(t, err)
		var names []string
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(line, "=")
			// A Dagger engine tells commands where to send traces.
			if name != "TRACEPARENT" && name != "BAGGAGE" && !strings.HasPrefix(name, "OTEL_") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		assert.Equal(t, []string{"HOME", "MINE", "PATH"}, names)
	})

	t.Run("WorkdirAndUser", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithWorkdir("/var").WithWorkdir("lib/new").WithUser("nobody").
			WithExec(bash("pwd; id -un")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "/var/lib/new\nnobody\n", out)
	})

	t.Run("Entrypoint", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.dir(map[string]string{
			"Dockerfile": "FROM " + r.Base + "\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"default\"]\n",
		}).DockerBuild()
		command := r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + "\nCMD [\"echo\", \"command\"]\n"}).DockerBuild()
		use := dagger.ContainerWithExecOpts{UseEntrypoint: true}
		for want, c := range map[string]*dagger.Container{
			"plain\n":         c.WithExec([]string{"echo", "plain"}),
			"entry x\n":       c.WithExec([]string{"x"}, use),
			"entry default\n": c.WithExec(nil, use),
			"command\n":       command.WithExec(nil),
			"command \n":      command.WithExec([]string{"echo", "command", ""}, use),
		} {
			out, err := c.Stdout(ctx)
			require.NoError(t, err, want)
			assert.Equal(t, want, out)
		}
	})

	t.Run("NoStandardInput", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithExec(bash("cat; echo end")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "end\n", out)
	})

	t.Run("ProcessesEndWithTheCommand", func(t *testing.T) {
		t.Parallel()
		out, err := r.fresh().WithExec(bash("sleep 600 & echo started")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "started\n", out)
	})

	t.Run("ManyAtOnce", func(t *testing.T) {
		t.Parallel()
		var commands errgroup.Group
		for i := range 20 {
			commands.Go(func() error {
				out, err := r.fresh().WithExec(bash(fmt.Sprintf("sleep 0.2; echo %d", i))).Stdout(within(t))
				assert.Equal(t, fmt.Sprintln(i), out)
				return err
			})
		}
		require.NoError(t, commands.Wait())
	})

	t.Run("LeavesNothingBehind", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		before, err := r.base().Directory("/").Entries(ctx)
		require.NoError(t, err)
		after, err := r.base().WithExec([]string{"true"}).Directory("/").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, before, after, "in the root directory")
	})
}
