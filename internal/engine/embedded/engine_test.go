package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
	"github.com/aksflow/aksflow/internal/tool"
)

// What Dagger's API means is judged by package conformance. Here is what an engine of one's own adds: what it tells its
// user, and what it does not do.

// TestEngine shares one daemon among its parts.
func TestEngine(t *testing.T) {
	needsEngine(t)
	host := registrytest.Start(t)
	s := &suite{dir: stateDir(t), base: host + "/library/debian:trixie-slim"}
	for name, test := range map[string]func(*testing.T){
		"FailedStep":          s.failedStep,
		"ServicesEnd":         s.servicesEndWithTheSession,
		"BadDockerfiles":      s.badDockerfiles,
		"CachedClient":        s.cachedClient,
		"DyingService":        s.dyingService,
		"SecretsInEvents":     s.secretsInEvents,
		"Epoch":               s.epoch,
		"EpochIsNoCacheKey":   s.epochIsNoCacheKey,
		"NestedIsCached":      s.nestedIsCached,
		"SecretsOnDisk":       s.secretsOnDisk,
		"OtherPlatform":       s.otherPlatform,
		"OddFileNames":        s.oddFileNames,
		"NoSSHAgent":          s.noSSHAgent,
		"LongOutput":          s.longOutput,
		"BinarySecret":        s.binarySecret,
		"ServicesByName":      s.servicesByName,
		"Wipe":                s.wipe,
		"DownWithOpenSession": s.down,
	} {
		t.Run(name, test)
	}
}

type suite struct{ dir, base string }

// events are what a session's user was told.
type events struct {
	mu  sync.Mutex
	all []report.Event
}

func (e *events) Event(x report.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, x)
}

// text is all of it, a line an event.
func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, x := range e.all {
		b.WriteString(x.Object + ": " + x.Message + "\n")
	}
	return b.String()
}

// open opens a session whose context carries its events.
func (s *suite) open(t *testing.T) (context.Context, *dagger.Client, *events) {
	t.Helper()
	told := &events{}
	ctx, cancel := context.WithTimeout(report.With(t.Context(), told), 3*time.Minute)
	t.Cleanup(cancel)
	e, err := embedded.Open(ctx, embedded.Options{Dir: s.dir, Env: os.Environ()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	client, err := dagger.Connect(ctx, dagger.WithConn(e))
	require.NoError(t, err)
	return ctx, client, told
}

func (s *suite) failedStep(t *testing.T) {
	ctx, client, told := s.open(t)
	dockerfile := "FROM " + s.base + "\nENV A=1\nRUN echo checking; echo 'it broke' >&2; printf 'no newline'; exit 7\n"
	_, err := client.Directory().WithNewFile("Dockerfile", dockerfile).DockerBuild().Sync(ctx)
	var failed *dagger.ExecError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, 7, failed.ExitCode)
	for _, want := range []string{"Dockerfile:3: ", "exit code: 7", "checking", "it broke", "no newline"} {
		assert.ErrorContains(t, err, want)
	}
	for _, want := range []string{"checking\n", "it broke\n", "no newline\n"} {
		assert.Contains(t, told.text(), want)
	}
}

func (s *suite) badDockerfiles(t *testing.T) {
	ctx, client, _ := s.open(t)
	for text, want := range map[string]string{
		"FROM " + s.base + "\nCOPY nothing /\n":    "Dockerfile:2: \"/nothing\": not found",
		"FROM " + s.base + "\nRAN true\n":          "unknown instruction: RAN",
		"FROM 127.0.0.1:9/none\n":                  "Dockerfile:1: 127.0.0.1:9/none",
		"FROM " + s.base + "\nRUN no-such-thing\n": "no-such-thing: not found",
	} {
		_, err := client.Directory().WithNewFile("Dockerfile", text).DockerBuild().Sync(ctx)
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "rpc error")
	}
	empty := t.TempDir()
	_, err := client.Host().Directory(empty).DockerBuild().Sync(ctx)
	assert.ErrorContains(t, err, "no Dockerfile")
	assert.ErrorContains(t, err, empty)
}

// cachedClient: what is remembered needs no service.
func (s *suite) cachedClient(t *testing.T) {
	key := rand()
	run := func() string {
		ctx, client, told := s.open(t)
		base := client.Container().From(s.base)
		srv := base.WithExposedPort(8080).AsService(dagger.ContainerAsServiceOpts{Args: []string{"perl", "-e", `
			use IO::Socket::INET;
			my $l = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;
			while (my $c = $l->accept) { print $c "hello\n"; close $c }`}})
		out, err := base.WithEnvVariable("KEY", key).WithServiceBinding("srv", srv).
			WithExec([]string{"bash", "-c", "cat < /dev/tcp/srv/8080"}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "hello\n", out)
		return told.text()
	}
	assert.Contains(t, run(), "service srv: ready")
	assert.NotContains(t, run(), "service srv")
}

// servicesEndWithTheSession: services that run when a session is closed are released by their jobs. Without its job, BuildKit
// looks for a container for three seconds, which each run with a service would wait.
func (s *suite) servicesEndWithTheSession(t *testing.T) {
	e, err := embedded.Open(t.Context(), embedded.Options{Dir: s.dir, Env: os.Environ()})
	require.NoError(t, err)
	client, err := dagger.Connect(t.Context(), dagger.WithConn(e))
	require.NoError(t, err)
	base := client.Container().From(s.base)
	serve := func(port int) *dagger.Service {
		return base.WithExposedPort(port).AsService(dagger.ContainerAsServiceOpts{Args: []string{"perl", "-e", fmt.Sprintf(`
			use IO::Socket::INET;
			my $l = IO::Socket::INET->new(LocalPort => %d, Listen => 9, ReuseAddr => 1) or die;
			while (my $c = $l->accept) { close $c }`, port)}})
	}
	_, err = base.WithServiceBinding("a", serve(8080)).WithServiceBinding("b", serve(8081)).WithServiceBinding("c", serve(8082)).
		WithExec([]string{"bash", "-c", ": < /dev/tcp/a/8080; : < /dev/tcp/b/8081; : < /dev/tcp/c/8082"}).Sync(t.Context())
	require.NoError(t, err)
	require.NoError(t, e.Close())
	said, err := os.ReadFile(filepath.Join(s.dir, "buildkitd.log"))
	require.NoError(t, err)
	assert.NotContains(t, string(said), "ReleaseContainer: no such job")
}

// dyingService: a client whose service dies has not failed by itself, even if it may end as it likes.
func (s *suite) dyingService(t *testing.T) {
	ctx, client, _ := s.open(t)
	base := client.Container().From(s.base).WithEnvVariable("KEY", rand())
	srv := base.WithExposedPort(8080).AsService(dagger.ContainerAsServiceOpts{Args: []string{"perl", "-e", `
		use IO::Socket::INET;
		my $l = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die;
		while (my $c = $l->accept) { my $line = <$c> // ""; die "told to" if $line =~ /die/; }`}})
	began := time.Now()
	_, err := base.WithServiceBinding("srv", srv).
		WithExec([]string{"bash", "-c", "echo die > /dev/tcp/srv/8080; sleep 100; exit 5"}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}).
		ExitCode(ctx)
	var failed *dagger.ExecError
	require.ErrorAs(t, err, &failed)
	assert.Contains(t, failed.Stderr, "told to", "the service's own output")
	assert.Less(t, time.Since(began), time.Minute)

	// What runs after the client is not the service's affair.
	out, err := base.WithServiceBinding("srv", srv).WithExec([]string{"bash", "-c", "echo die > /dev/tcp/srv/8080"}, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny}).
		WithExec([]string{"bash", "-c", "sleep 2; echo done"}).Stdout(ctx)
	if err == nil { // it is when the service was quicker than its client
		assert.Equal(t, "done\n", out)
	}
}

func (s *suite) secretsInEvents(t *testing.T) {
	ctx, client, told := s.open(t)
	plain := "plain-" + rand()
	base := client.Container().From(s.base).WithSecretVariable("S", client.SetSecret("s", plain))
	_, err := base.WithExec([]string{"sh", "-c", "echo it is $S; exit 1"}).Sync(ctx)
	require.Error(t, err)
	_, err = base.WithExposedPort(1).AsService(dagger.ContainerAsServiceOpts{Args: []string{"sh", "-c", "echo said $S; exit 1"}}).Start(ctx)
	require.Error(t, err)
	assert.Contains(t, told.text(), "it is ***\n")
	assert.Contains(t, told.text(), "said ***\n")
	assert.Contains(t, err.Error(), "said ***")
	assert.NotContains(t, told.text()+err.Error(), plain)
}

func (s *suite) epoch(t *testing.T) {
	ctx, client, _ := s.open(t)
	file := filepath.Join(t.TempDir(), "image.tar")
	_, err := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+"\nRUN echo "+rand()+"\n").
		DockerBuild(dagger.DirectoryDockerBuildOpts{BuildArgs: []dagger.BuildArg{{Name: "SOURCE_DATE_EPOCH", Value: "1770000000"}}}).
		AsTarball().Export(ctx, file)
	require.NoError(t, err)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(data), `"created":"2026-02-02T02:40:00Z"`)
	_, rest, _ := strings.Cut(string(data), `"history":`)
	var history []struct{ Created time.Time }
	require.NoError(t, json.NewDecoder(strings.NewReader(rest)).Decode(&history))
	for _, h := range history {
		assert.False(t, h.Created.After(time.Unix(1770000000, 0)), h.Created)
	}
}

// epochIsNoCacheKey: another epoch runs nothing again, unless the Dockerfile declares it.
func (s *suite) epochIsNoCacheKey(t *testing.T) {
	ctx, client, _ := s.open(t)
	build := func(declaration, epoch string) *dagger.Container {
		return client.Directory().WithNewFile("requirements", s.dir).WithNewFile("Dockerfile", "FROM "+s.base+`
`+declaration+`
WORKDIR /app
COPY requirements .
RUN cat /proc/sys/kernel/random/uuid > /installed
`).DockerBuild(dagger.DirectoryDockerBuildOpts{BuildArgs: []dagger.BuildArg{{Name: "SOURCE_DATE_EPOCH", Value: epoch}}})
	}
	installed := func(declaration, epoch string) string {
		id, err := build(declaration, epoch).File("/installed").Contents(ctx)
		require.NoError(t, err)
		return id
	}
	assert.Equal(t, installed("", "1700000000"), installed("", "1800000000"), "packages are installed again")
	const declared = "ARG SOURCE_DATE_EPOCH"
	assert.NotEqual(t, installed(declared, "1700000000"), installed(declared, "1800000000"), "the argument is not passed on")
}

// The token and the port of a nested session differ in each session, and are neither in the cache key nor in any output.
func (s *suite) nestedIsCached(t *testing.T) {
	nonce := rand()
	run := func() (out, told string) {
		ctx, client, events := s.open(t)
		out, err := client.Container().From(s.base).WithEnvVariable("NONCE", nonce).
			WithExec([]string{"bash", "-c", `cat /proc/sys/kernel/random/uuid; echo "token $DAGGER_SESSION_TOKEN"; exec 3<>/dev/tcp/127.0.0.1/$DAGGER_SESSION_PORT`},
				dagger.ContainerWithExecOpts{ExperimentalPrivilegedNesting: true}).Stdout(ctx)
		require.NoError(t, err)
		return out, events.text()
	}
	first, told := run()
	second, _ := run()
	assert.Equal(t, strings.Split(first, "\n")[0], strings.Split(second, "\n")[0], "the second session has it from the cache")
	assert.Contains(t, first, "token ***\n")
	assert.Contains(t, told, "token ***")
}

// secretsOnDisk: a step that prints a secret leaves it neither in the daemon's log nor in a record of the build.
func (s *suite) secretsOnDisk(t *testing.T) {
	ctx, client, _ := s.open(t)
	plain := "on-disk-" + rand()
	t.Setenv("A_TOKEN_OF_THE_CALLER", plain)
	_, err := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+`
RUN --mount=type=secret,id=token cat /run/secrets/token; echo "token is $(cat /run/secrets/token)"; exit 3
`).DockerBuild(dagger.DirectoryDockerBuildOpts{Secrets: []*dagger.Secret{client.SetSecret("token", plain)}}).Sync(ctx)
	require.ErrorContains(t, err, "token is ***")
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "snapshots" {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil {
			assert.False(t, bytes.Contains(data, []byte(plain)), "the secret is in %s", path)
		}
		return nil
	}))
}

// otherPlatform: an image that says one platform and holds the programs of another is not made.
func (s *suite) otherPlatform(t *testing.T) {
	ctx, client, _ := s.open(t)
	other := dagger.Platform("linux/arm64")
	if runtime.GOARCH == "arm64" {
		other = "linux/amd64"
	}
	_, err := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+"\nRUN uname -m\n").
		DockerBuild(dagger.DirectoryDockerBuildOpts{Platform: other}).Sync(ctx)
	assert.ErrorContains(t, err, "the image would be for "+string(other)+", and its base image is for linux/"+runtime.GOARCH)
}

// oddFileNames: the file that BuildKit cannot transfer is named, unless it is no part of the build.
func (s *suite) oddFileNames(t *testing.T) {
	ctx, client, _ := s.open(t)
	dir := t.TempDir()
	for _, name := range []string{"with space", "new\nline", "back\\slash", "*star", "-dash", "äöü", "sub/latin1-\xe9"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+s.base+"\nCOPY . /all\n"), 0o600))
	_, err := client.Host().Directory(dir).DockerBuild().Sync(ctx)
	assert.ErrorContains(t, err, `"sub/latin1-\xe9": rename it, or name it in .dockerignore`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte("sub\n"), 0o600))
	ctx, client, _ = s.open(t)
	entries, err := client.Host().Directory(dir).DockerBuild().Directory("/all").Entries(ctx)
	require.NoError(t, err)
	assert.Contains(t, entries, "new\nline")
}

func (s *suite) noSSHAgent(t *testing.T) {
	ctx, client, _ := s.open(t)
	source := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+"\nRUN --mount=type=ssh,required=true true\n")
	_, err := source.DockerBuild().Sync(ctx)
	assert.ErrorContains(t, err, "SSH_AUTH_SOCK names none: start one")
	gone := filepath.Join(t.TempDir(), "gone")
	_, err = source.DockerBuild(dagger.DirectoryDockerBuildOpts{SSH: client.Host().UnixSocket(gone)}).Sync(ctx)
	assert.ErrorContains(t, err, "the SSH agent does not answer")
}

// longOutput: an error shows the end of what a step printed, in lines that are not too long either. It alone does: the
// events of the step hold the output for --verbose only.
func (s *suite) longOutput(t *testing.T) {
	ctx, client, told := s.open(t)
	_, err := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+`
RUN seq 1 100000; head -c 100000 /dev/zero | tr '\0' x; echo; echo LA""ST; exit 1
`).DockerBuild().Sync(ctx)
	require.Error(t, err)
	assert.Equal(t, 1, strings.Count(err.Error(), "LAST"), "%v", err)
	told.mu.Lock()
	defer told.mu.Unlock()
	for _, e := range told.all {
		if e.Kind != report.Log {
			assert.NotContains(t, e.Message, "LAST", "%+v", e)
		}
	}
	assert.Less(t, strings.Count(err.Error(), "\n"), 50)
	assert.Less(t, len(err.Error()), 5000)
}

// binarySecret: the API carries texts only, but a file may hold anything.
func (s *suite) binarySecret(t *testing.T) {
	ctx, client, _ := s.open(t)
	file := filepath.Join(t.TempDir(), "key.der")
	require.NoError(t, os.WriteFile(file, []byte{0, 0xff, 0xfe, '\n', 0x80}, 0o600))
	sum, err := client.Directory().WithNewFile("Dockerfile", "FROM "+s.base+`
RUN --mount=type=secret,id=signing-key od -An -tx1 /run/secrets/signing-key > /seen # `+rand()+`
`).DockerBuild(dagger.DirectoryDockerBuildOpts{
		Secrets: []*dagger.Secret{client.Secret("file://"+file, dagger.SecretOpts{CacheKey: "signing-key"})},
	}).File("/seen").Contents(ctx)
	require.NoError(t, err)
	assert.Equal(t, " 00 ff fe 0a 80\n", sum)
}

// servicesByName: errors call a service by the name that it is bound under.
func (s *suite) servicesByName(t *testing.T) {
	ctx, client, told := s.open(t)
	base := client.Container().From(s.base).WithEnvVariable("KEY", rand())
	srv := base.WithExposedPort(8080).AsService(dagger.ContainerAsServiceOpts{Args: []string{"sh", "-c", "echo no room >&2; exit 3"}})
	_, err := base.WithServiceBinding("redis", srv).WithExec([]string{"true"}).Sync(ctx)
	require.ErrorContains(t, err, "(aliased as redis)")
	assert.ErrorContains(t, err, "no room")
	assert.Contains(t, told.text(), "service redis")
}

func (s *suite) wipe(t *testing.T) {
	ctx, client, _ := s.open(t)
	dest := filepath.Join(t.TempDir(), "out")
	d := client.Directory().WithNewFile("new", "x")
	for _, wipe := range []bool{false, true} {
		require.NoError(t, os.MkdirAll(dest, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dest, "old"), nil, 0o600))
		_, err := d.Export(ctx, dest, dagger.DirectoryExportOpts{Wipe: wipe})
		require.NoError(t, err)
		assert.FileExists(t, filepath.Join(dest, "new"))
		_, err = os.Stat(filepath.Join(dest, "old"))
		assert.Equal(t, wipe, errors.Is(err, os.ErrNotExist))
	}
	left, err := os.ReadDir(filepath.Dir(dest))
	require.NoError(t, err)
	assert.Len(t, left, 1, "no temporary directory")
}

// down: a session whose daemon is stopped fails, and does not hang.
func (s *suite) down(t *testing.T) {
	dir := stateDir(t)
	other := &suite{dir: dir, base: s.base}
	ctx, client, _ := other.open(t)
	ended := make(chan error, 1)
	c := client.Container().From(s.base).WithEnvVariable("KEY", rand())
	_, err := c.Sync(ctx)
	require.NoError(t, err)
	go func() {
		_, err := c.WithExec([]string{"sleep", "600"}).Sync(ctx)
		ended <- err
	}()
	require.NoError(t, buildkitd.Stop(ctx, dir))
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-ctx.Done():
		require.Fail(t, "still waiting for a daemon that is gone")
	}
}

func rand() string { return time.Now().Format("150405.000000000") }

// needsEngine skips a test where the engine cannot run.
func needsEngine(t testing.TB) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("runs containers")
	case runtime.GOOS != "linux":
		t.Skip("the embedded engine runs on Linux only")
	case os.Geteuid() != 0:
		t.Skip("the embedded engine needs root")
	}
	if os.Getenv(tool.Dir) == "" { // where `make setup` puts the tools
		bin, err := filepath.Abs(filepath.Join("..", "..", "..", "bin"))
		require.NoError(t, err)
		require.NoError(t, os.Setenv(tool.Dir, bin))
	}
}

// stateDir is an engine's state directory, with no daemon left when the test ends.
func stateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "aksflow-engine-*")
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, buildkitd.Stop(context.Background(), dir))
		assert.NoError(t, os.RemoveAll(dir))
	})
	return dir
}
