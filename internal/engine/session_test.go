package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/bkhost"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

func TestStateDir(t *testing.T) {
	for _, test := range []struct{ flag, env, xdg, want string }{
		{want: "/home/me/.local/state/aksflow"},
		{xdg: "/xdg", want: "/xdg/aksflow"},
		{xdg: "relative", want: "/home/me/.local/state/aksflow"},
		{env: "/env", xdg: "/xdg", want: "/env"},
		{flag: "/flag/../other", env: "/env", want: "/other"},
	} {
		got, err := StateDir(test.flag, []string{"HOME=/home/me", "AKSFLOW_STATE=" + test.env, "XDG_STATE_HOME=" + test.xdg})
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "%+v", test)
	}
	_, err := StateDir("", nil)
	assert.ErrorContains(t, err, "set AKSFLOW_STATE or pass --state")
}

func TestUnknownEngine(t *testing.T) {
	_, err := Connect(t.Context(), Options{Engine: "docker"})
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	assert.ErrorContains(t, err, "auto, dagger or embedded")
	_, err = Connect(t.Context(), Options{Env: []string{"AKSFLOW_ENGINE=podman"}})
	assert.ErrorContains(t, err, "podman")
}

// machine is an environment in which nothing of the real one shows.
type machine struct{ dir string }

func newMachine(t *testing.T) machine {
	m := machine{dir: t.TempDir()}
	t.Setenv("PATH", m.dir)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(m.dir, "docker.sock"))
	for _, name := range []string{contract.SessionPort, envRunnerHost, envCLI, bkhost.Variable} {
		t.Setenv(name, "")
	}
	return m
}

// dagger puts a program on PATH that says it is this version of Dagger.
func (m machine) dagger(t *testing.T, version string) {
	script := fmt.Sprintf("#!/bin/sh\necho 'dagger %s (registry.dagger.io/engine:%s) linux/amd64'\n", version, version)
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "dagger"), []byte(script), 0o755))
}

// docker listens where Docker does.
func (m machine) docker(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(m.dir, "docker.sock"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
}

func TestFindDagger(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*testing.T, machine)
		why  string // when one is found
		want string // when none is
	}{
		"nothing": {
			set:  func(*testing.T, machine) {},
			want: "no dagger v0.21.x on PATH",
		},
		"inside a session": {
			set: func(t *testing.T, _ machine) { t.Setenv(contract.SessionPort, "1234") },
			why: contract.SessionPort,
		},
		"no Docker": {
			set:  func(t *testing.T, m machine) { m.dagger(t, "v0.21.8") },
			want: "no Docker answers",
		},
		"Docker": {
			set: func(t *testing.T, m machine) {
				m.dagger(t, "v0.21.8")
				m.docker(t)
			},
			why: "v0.21.8 and Docker",
		},
		"another patch": {
			set: func(t *testing.T, m machine) {
				m.dagger(t, "v0.21.3")
				m.docker(t)
			},
			why: "v0.21.3",
		},
		"another minor": {
			set: func(t *testing.T, m machine) {
				m.dagger(t, "v0.20.0")
				m.docker(t)
			},
			want: "version v0.20.0, and this aksflow speaks with v0.21.x",
		},
		"a remote engine": {
			set: func(t *testing.T, m machine) {
				m.dagger(t, "v0.21.8")
				t.Setenv(envRunnerHost, "tcp://engine:1234")
			},
			why: envRunnerHost,
		},
		"a CLI that is named": {
			set: func(t *testing.T, m machine) {
				m.dagger(t, "v0.21.8")
				m.docker(t)
				require.NoError(t, os.Rename(filepath.Join(m.dir, "dagger"), filepath.Join(m.dir, "dagger-x")))
				t.Setenv(envCLI, filepath.Join(m.dir, "dagger-x"))
			},
			why: "dagger-x",
		},
		"another program": {
			set: func(t *testing.T, m machine) {
				require.NoError(t, os.WriteFile(filepath.Join(m.dir, "dagger"), []byte("#!/bin/sh\necho stab\n"), 0o755))
			},
			want: "is it Dagger's?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			test.set(t, m)
			found, err := findDagger(t.Context(), newEnvironment(os.Environ()))
			if test.want != "" {
				assert.ErrorContains(t, err, test.want)
				_, err = Connect(t.Context(), Options{Engine: Dagger, Env: os.Environ()})
				assert.ErrorContains(t, err, test.want, "asked for by name, it is an error")
				return
			}
			require.NoError(t, err)
			assert.Contains(t, found.why, test.why)
		})
	}
}

func TestAutoSaysWhatItTook(t *testing.T) {
	newMachine(t) // where neither engine can run
	t.Setenv("AKSFLOW_BIN", t.TempDir())
	var told []string
	ctx := report.With(t.Context(), report.SinkFunc(func(e report.Event) { told = append(told, e.Message) }))
	_, err := Connect(ctx, Options{State: t.TempDir(), Env: os.Environ()})
	require.Error(t, err)
	require.Len(t, told, 1)
	assert.Contains(t, told[0], "engine: embedded, because there is no dagger v0.21.x on PATH")
}

func TestDownOfNothing(t *testing.T) {
	require.NoError(t, Down(context.Background(), filepath.Join(t.TempDir(), "none")))
}
