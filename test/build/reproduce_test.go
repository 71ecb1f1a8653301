package build_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/flow"
)

// TestReproduce builds Dockerfiles twice, as aksflow build --check does.
func TestReproduce(t *testing.T) {
	if os.Getenv("AKSFLOW_ENGINE") == engine.Dagger {
		_, err := engine.Connect(t.Context(), engine.Options{
			Engine: engine.Dagger, Env: os.Environ(), Setenv: os.Setenv, Session: delivery.Session{NoCache: true},
		})
		assert.ErrorContains(t, err, "--engine embedded")
		return
	}
	_, base := connect(t)
	reproduce := func(t *testing.T, dockerfile string) (*delivery.Reproduced, error) {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{
			"aksflow.yaml": "app: vote\nbuild: {args: {BASE: \"" + base + "\"}}\n", "Dockerfile": dockerfile, "a": "a",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		var open *engine.Session
		d, err := flow.Open(t.Context(), flow.Request{
			Config: filepath.Join(dir, "aksflow.yaml"), Variables: func(string) (string, bool) { return "", false },
			Client: func(ctx context.Context, want delivery.Session) (*dagger.Client, error) {
				if open != nil {
					require.NoError(t, open.Close())
				}
				s, err := engine.Connect(ctx, engine.Options{Engine: engine.Embedded, Env: os.Environ(), Session: want})
				if err != nil {
					return nil, err
				}
				open = s
				return s.Client(), nil
			},
		})
		require.NoError(t, err)
		defer func() {
			require.NoError(t, d.Close())
			require.NoError(t, open.Close())
		}()
		return d.Reproduce(t.Context())
	}

	t.Run("Same", func(t *testing.T) {
		found, err := reproduce(t, "ARG BASE\nFROM $BASE\nRUN echo 1 > /made\nCOPY a /srv/\n")
		require.NoError(t, err)
		assert.True(t, found.Same)
		assert.Len(t, found.Digests, 2)
	})
	t.Run("Different", func(t *testing.T) {
		found, err := reproduce(t, "ARG BASE\nFROM $BASE AS base\n# which is said of a RUN below\n"+
			"RUN mkdir -p /var/log/apt \\\n && cat /proc/sys/kernel/random/uuid > /var/log/apt/history.log\nENV A=1\nRUN echo 1 > /made\n"+
			"FROM base\nCOPY a /srv/\nRUN date +%N > /id && mkdir /a\n")
		require.ErrorContains(t, err, "differ in 2 files")
		require.Len(t, found.Instructions, 2)
		log, id := found.Instructions[0], found.Instructions[1]
		assert.Equal(t, "Dockerfile:4", log.Place)
		require.Len(t, log.Files, 1)
		assert.Equal(t, "/var/log/apt/history.log", log.Files[0].Path)
		assert.Regexp(t, `^line 1 is ".+" and ".+"$`, log.Files[0].What)
		assert.Contains(t, log.Files[0].Remedy, "rm -rf /var/log/apt")
		assert.Equal(t, "Dockerfile:10", id.Place)
		assert.Equal(t, "RUN date +%N > /id && mkdir /a", id.Instruction)
		assert.Equal(t, "/id", id.Files[0].Path)
	})
}
