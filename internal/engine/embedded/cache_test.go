package embedded_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
	"github.com/aksflow/aksflow/internal/engine/embedded/remotecache"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
	"github.com/aksflow/aksflow/internal/tool"
)

// TestRegistryCache builds on runners that share nothing but a registry.
func TestRegistryCache(t *testing.T) {
	needsEngine(t)
	host := registrytest.Start(t)
	const dockerfile = "ARG BASE=none\nFROM $BASE AS tools\nRUN cat /proc/sys/kernel/random/uuid > /tool\n" +
		"FROM tools AS test\nRUN cat /proc/sys/kernel/random/uuid > /tested\n" +
		"FROM $BASE\nCOPY --from=tools /tool /tool\nRUN cat /proc/sys/kernel/random/uuid > /made\nCOPY app /app\n"
	// build returns what the steps made, which is another text each time that they run.
	build := func(t *testing.T, o remotecache.Options, app, stage, file string) (text string, told *events) {
		t.Helper()
		told = &events{}
		ctx, cancel := context.WithTimeout(report.With(t.Context(), told), 3*time.Minute)
		defer cancel()
		e, err := embedded.Open(ctx, embedded.Options{Dir: stateDir(t), Env: os.Environ(), Cache: o})
		require.NoError(t, err)
		client, err := dagger.Connect(ctx, dagger.WithConn(e))
		require.NoError(t, err)
		text, err = client.Directory().WithNewFile("Dockerfile", dockerfile).WithNewFile("app", app).
			DockerBuild(dagger.DirectoryDockerBuildOpts{
				Target: stage, BuildArgs: []dagger.BuildArg{{Name: "BASE", Value: host + "/library/debian:trixie-slim"}},
			}).File(file).Contents(ctx)
		require.NoError(t, err)
		require.NoError(t, e.Close())
		return text, told
	}
	branch, develop := host+"/vote:cache-feature", host+"/vote:cache-develop"
	first, told := build(t, remotecache.Options{Imports: []string{develop}, Export: develop}, "1", "test", "/tool")
	assert.NotContains(t, told.text(), "cannot be", "that there is no cache yet is nothing to tell")
	image, _ := build(t, remotecache.Options{Imports: []string{develop}, Export: develop}, "1", "", "/made")

	t.Run("AnotherBranch", func(t *testing.T) {
		again, told := build(t, remotecache.Options{Imports: []string{branch, develop}, Export: branch}, "2", "", "/made")
		assert.Equal(t, image, again, "%s", told.text())
	})
	t.Run("StageBeforeTheLast", func(t *testing.T) {
		again, told := build(t, remotecache.Options{Imports: []string{branch, develop}}, "1", "test", "/tool")
		assert.Equal(t, first, again, "%s", told.text())
	})
	t.Run("NoCache", func(t *testing.T) {
		again, _ := build(t, remotecache.Options{}, "1", "", "/made")
		assert.NotEqual(t, image, again)
	})
	t.Run("NoRegistry", func(t *testing.T) {
		const nowhere = "127.0.0.1:9/vote:cache-develop"
		_, told := build(t, remotecache.Options{Imports: []string{nowhere}, Export: nowhere}, "1", "", "/made")
		assert.Contains(t, told.text(), "the build cache "+nowhere+" cannot be read: ")
		assert.Contains(t, told.text(), "the build cache could not be written to "+nowhere+": ")
	})
}

// TestBasesAreResolvedOnce builds several Dockerfiles in a session, on one image by its tag.
func TestBasesAreResolvedOnce(t *testing.T) {
	needsEngine(t)
	target, err := url.Parse("http://" + registrytest.Start(t))
	require.NoError(t, err)
	var asked atomic.Int64
	forward := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/manifests/trixie-slim") {
			asked.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	defer server.Close()
	s := &suite{dir: stateDir(t), base: strings.TrimPrefix(server.URL, "http://") + "/library/debian:trixie-slim"}
	ctx, client, _ := s.open(t)
	build := func(text string) {
		_, err := client.Directory().WithNewFile("Dockerfile", "ARG BASE\nFROM $BASE\nRUN echo "+text+" > /f\n").DockerBuild(dagger.DirectoryDockerBuildOpts{
			BuildArgs: []dagger.BuildArg{{Name: "BASE", Value: s.base}},
		}).Sync(ctx)
		require.NoError(t, err)
	}
	build("one")
	first := asked.Load()
	assert.Positive(t, first)
	for _, text := range []string{"two", "three", "four"} {
		build(text)
	}
	assert.Equal(t, first, asked.Load(), "a tag means what it meant before in this session")
}

// BenchmarkRegistryCache builds on a machine that never built the Dockerfile, with and without the results that another one
// left in a registry, and with the program that BuildKit's users would take. Each build begins with the start of a daemon.
//
//	go test -run=- -bench=RegistryCache -benchtime=3x ./internal/engine/embedded
func BenchmarkRegistryCache(b *testing.B) {
	needsEngine(b)
	buildctl, err := tool.Find("buildctl", "")
	if err != nil {
		b.Skip(err)
	}
	host, source := benchSource(b, "RUN for i in 1 2 3; do seq 3000000 | sort -R | md5sum; done > /sum && seq 2000000 > /numbers")
	base, cache := host+"/library/debian:trixie-slim", host+"/vote:cache-develop"
	build := func(b *testing.B, o remotecache.Options) {
		dir := stateDir(b)
		e, err := embedded.Open(b.Context(), embedded.Options{Dir: dir, Env: os.Environ(), Cache: o})
		require.NoError(b, err)
		client, err := dagger.Connect(b.Context(), dagger.WithConn(e))
		require.NoError(b, err)
		_, err = client.Host().Directory(source).DockerBuild(dagger.DirectoryDockerBuildOpts{
			BuildArgs: []dagger.BuildArg{{Name: "BASE", Value: base}},
		}).AsTarball().Export(b.Context(), filepath.Join(dir, "image.tar"))
		require.NoError(b, err)
		require.NoError(b, e.Close())
	}
	build(b, remotecache.Options{Export: cache})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			build(b, remotecache.Options{})
		}
	})
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			build(b, remotecache.Options{Imports: []string{cache}})
		}
	})
	b.Run("buildctl", func(b *testing.B) {
		for b.Loop() {
			dir := stateDir(b)
			daemon, err := buildkitd.Acquire(b.Context(), buildkitd.Options{Dir: dir, Env: os.Environ()})
			require.NoError(b, err)
			out, err := exec.CommandContext(b.Context(), buildctl, "--addr", daemon.Addr(), "build",
				"--frontend", "dockerfile.v0", "--opt", "build-arg:BASE="+base, "--import-cache", "type=registry,ref="+cache,
				"--local", "context="+source, "--local", "dockerfile="+source,
				"--output", "type=oci,dest="+filepath.Join(dir, "image.tar")).CombinedOutput()
			require.NoError(b, err, string(out))
			require.NoError(b, daemon.Release())
		}
	})
}
