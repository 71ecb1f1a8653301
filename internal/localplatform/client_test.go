package localplatform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// script puts a program in place of aksflow-platform. It is a shell script that has the options in $options.
func script(t *testing.T, body string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the platform runs on Linux")
	}
	dir := t.TempDir()
	// head reads one byte at a time of a pipe: the options end in a newline only if the client writes one.
	text := "#!/bin/sh\noptions=$(dd bs=65536 count=1 2>/dev/null)\n" + body
	require.NoError(t, os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755))
	t.Setenv("AKSFLOW_BIN", dir)
}

// events returns a context, and what is reported with it.
func events(t *testing.T) (context.Context, *[]string) {
	var said []string
	return report.With(t.Context(), report.SinkFunc(func(e report.Event) {
		said = append(said, fmt.Sprint(e.Kind, " ", e.Object, ": ", e.Message))
	})), &said
}

func TestUpReplaysEventsAndReturnsTheInfo(t *testing.T) {
	script(t, `
case $options in *'"State":"/s","Parts":["git"]'*) ;; *) echo "options: $options" >&2; exit 3;; esac
echo '{"event":{"kind":3,"object":"git","message":"ready after 0.1 s"}}'
echo '{"info":{"state":"/s","pid":7,"parts":["git"],"git":"http://localhost:3000"}}'
`)
	ctx, said := events(t)
	info, err := Up(ctx, Options{State: "/s", Parts: []Part{Git}})
	require.NoError(t, err)
	assert.Equal(t, "http://localhost:3000", info.Git)
	assert.Equal(t, []string{fmt.Sprint(report.Progress, " git: ready after 0.1 s")}, *said)
}

func TestUpReturnsTheErrorOfTheProgram(t *testing.T) {
	script(t, `echo '{"error":"the platform has no part \"x\"","usage":true}'; exit 2`)
	_, err := Up(t.Context(), Options{State: "/s"})
	require.EqualError(t, err, `the platform has no part "x"`)
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))

	script(t, `echo '{"error":"registry ended"}'; exit 1`)
	_, err = Up(t.Context(), Options{State: "/s"})
	require.EqualError(t, err, "registry ended")
	assert.Equal(t, fault.ExitNo, fault.ExitCode(err))
}

func TestUpShowsTheLastWordsOfAProgramWithoutAResult(t *testing.T) {
	script(t, "echo 'panic: oh no' >&2; exit 2")
	_, err := Up(t.Context(), Options{State: "/s"})
	require.ErrorContains(t, err, "panic: oh no")
	require.ErrorContains(t, err, "exit status 2")
}

func TestUpWithoutTheProgram(t *testing.T) {
	t.Setenv("AKSFLOW_BIN", "")
	t.Setenv("PATH", t.TempDir())
	_, err := Up(t.Context(), Options{State: "/s"})
	require.ErrorContains(t, err, "`make setup` builds it")
}

// The program is not killed: it hears of the end by its standard input, and removes what it has started.
func TestCancelClosesTheProgramsStandardInput(t *testing.T) {
	script(t, `
echo '{"event":{"kind":3,"object":"git","message":"starting"}}'
cat >/dev/null
echo '{"error":"stopped and removed"}'
exit 1
`)
	ctx, cancel := context.WithCancel(t.Context())
	ctx = report.With(ctx, report.SinkFunc(func(report.Event) { cancel() }))
	_, err := Up(ctx, Options{State: "/s"})
	require.EqualError(t, err, "stopped and removed")
	require.ErrorIs(t, err, context.Canceled)
}

func TestDownWithoutAPlatformNeedsNoProgram(t *testing.T) {
	t.Setenv("AKSFLOW_BIN", "")
	t.Setenv("PATH", t.TempDir())
	state := t.TempDir()
	require.NoError(t, Down(t.Context(), state))
	require.NoError(t, os.WriteFile(State(state).LockFile(), nil, 0o600))
	require.ErrorContains(t, Down(t.Context(), state), program)
}

func TestLoadReportsACrash(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	require.ErrorContains(t, err, "`aksflow up` starts one")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "crash.json"), []byte(`{"time":"2026-01-02T03:04:05Z","reason":"registry ended"}`), 0o600))
	_, err = Load(dir)
	var crash *CrashError
	require.ErrorAs(t, err, &crash)
	assert.True(t, strings.HasSuffix(err.Error(), "stopped at 03:04:05: registry ended\n`aksflow up` starts it again"), err.Error())
}
