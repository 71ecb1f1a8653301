package embedded_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/image/canonical"
	"github.com/aksflow/aksflow/internal/engine/embedded"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
	"github.com/aksflow/aksflow/internal/tool"
)

// benchSource returns a registry with the base images, and a directory with a Dockerfile that makes an app in two instructions:
// run, and a COPY.
func benchSource(b *testing.B, run string) (host, dir string) {
	b.Helper()
	dir = b.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": "ARG BASE\nFROM $BASE\n" + run + "\nCOPY app.py /srv/\n",
		"app.py":     "print('hello')\n",
	} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return registrytest.Start(b), dir
}

// BenchmarkWarmBuild builds a Dockerfile in which nothing changed and writes the image as a tarball: as aksflow build does,
// with a session of the engine, opened and closed each time, and in the canonical form; and with the program that
// BuildKit's users would take, on the same daemon.
//
//	go test -run=- -bench=WarmBuild -benchtime=10x ./internal/engine/embedded
func BenchmarkWarmBuild(b *testing.B) {
	needsEngine(b)
	buildctl, err := tool.Find("buildctl", "")
	if err != nil {
		b.Skip(err)
	}
	const run = "RUN seq 1000000 > /numbers"
	host, source := benchSource(b, run)
	base := host + "/library/debian:trixie-slim"
	dir := stateDir(b)

	build := func(b *testing.B) {
		e, err := embedded.Open(b.Context(), embedded.Options{Dir: dir, Env: os.Environ()})
		require.NoError(b, err)
		defer e.Close()
		client, err := dagger.Connect(b.Context(), dagger.WithConn(e))
		require.NoError(b, err)
		_, err = client.Host().Directory(source).DockerBuild(dagger.DirectoryDockerBuildOpts{
			BuildArgs: []dagger.BuildArg{{Name: "BASE", Value: base}},
		}).AsTarball().Export(b.Context(), filepath.Join(dir, "engine.tar"))
		require.NoError(b, err)
		_, err = canonical.Write(b.Context(), filepath.Join(dir, "engine.tar"), filepath.Join(dir, "aksflow.tar"), canonical.Options{
			Instructions: []canonical.Instruction{{Text: run, Parts: 1}, {Text: "COPY app.py /srv/", Parts: 1, Context: true}},
			Cache:        filepath.Join(dir, "layers"),
		})
		require.NoError(b, err)
	}
	build(b) // now it is warm
	daemon, err := buildkitd.Acquire(b.Context(), buildkitd.Options{Dir: dir})
	require.NoError(b, err)
	defer daemon.Release()
	build(b) // and so is the daemon that stays

	b.Run("aksflow", func(b *testing.B) {
		for b.Loop() {
			build(b)
		}
	})
	b.Run("buildctl", func(b *testing.B) {
		for b.Loop() {
			out, err := exec.CommandContext(b.Context(), buildctl, "--addr", daemon.Addr(), "build",
				"--frontend", "dockerfile.v0", "--opt", "build-arg:BASE="+base,
				"--local", "context="+source, "--local", "dockerfile="+source,
				"--output", "type=oci,dest="+filepath.Join(source, "..", "buildctl.tar")).CombinedOutput()
			require.NoError(b, err, string(out))
		}
	})
}
