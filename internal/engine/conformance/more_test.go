package conformance

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// streams judges what commands read and write beside their output.
func (r *rig) streams(t *testing.T) {
	t.Run("Stdin", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithUser("nobody").WithExec(bash("cat; echo end"), dagger.ContainerWithExecOpts{Stdin: "given\n"}).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "given\nend\n", out)
		out, err = r.base().WithNewFile("/in", "from a file\n").WithWorkdir("/").
			WithExec([]string{"cat"}, dagger.ContainerWithExecOpts{RedirectStdin: "in"}).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "from a file\n", out)
		_, err = r.base().WithExec([]string{"cat"}, dagger.ContainerWithExecOpts{Stdin: "a", RedirectStdin: "/etc/passwd"}).Sync(within(t))
		assert.ErrorContains(t, err, "cannot set both stdin and redirectStdin")
	})

	t.Run("Redirect", func(t *testing.T) {
		t.Parallel()
		c := r.base().WithWorkdir("/srv").WithExec(bash("echo out; echo err >&2"),
			dagger.ContainerWithExecOpts{RedirectStdout: "out", RedirectStderr: "/tmp/err"})
		for path, want := range map[string]string{"/srv/out": "out\n", "/tmp/err": "err\n"} {
			got, err := c.File(path).Contents(within(t))
			require.NoError(t, err, path)
			assert.Equal(t, want, got, path)
		}
		out, err := c.Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "out\n", out, "the output is there as well")
	})

	t.Run("Expand", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithEnvVariable("DIR", "/data").
			WithEnvVariable("SUB", "${DIR}/sub", dagger.ContainerWithEnvVariableOpts{Expand: true}).
			WithNewFile("$SUB/file", "$DIR stays", dagger.ContainerWithNewFileOpts{Expand: true})
		out, err := c.WithExec([]string{"cat", "$SUB/file"}, dagger.ContainerWithExecOpts{Expand: true}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "$DIR stays", out)
		out, err = c.File("${SUB}/file", dagger.ContainerFileOpts{Expand: true}).Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "$DIR stays", out)
		there, err := c.Exists(ctx, "$SUB", dagger.ContainerExistsOpts{Expand: true})
		require.NoError(t, err)
		assert.True(t, there)
		out, err = c.WithExec([]string{"echo", "$SUB"}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "$SUB\n", out, "only when asked for")
		_, err = c.WithSecretVariable("TOKEN", r.SetSecret("token", nonce())).
			WithExec([]string{"echo", "$TOKEN"}, dagger.ContainerWithExecOpts{Expand: true}).Sync(ctx)
		assert.ErrorContains(t, err, "TOKEN", "a secret would stand in the command line")
	})

	t.Run("InsecureRootCapabilities", func(t *testing.T) {
		t.Parallel()
		const mount = "mkdir -p /m && mount -t tmpfs none /m && echo mounted"
		_, err := r.fresh().WithExec(bash(mount)).Sync(within(t))
		require.Error(t, err)
		out, err := r.fresh().WithExec(bash(mount), dagger.ContainerWithExecOpts{InsecureRootCapabilities: true}).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "mounted\n", out)
	})

	t.Run("NoTerminal", func(t *testing.T) {
		t.Parallel()
		_, err := r.base().Terminal().Sync(within(t))
		assert.Error(t, err, "the tests have no terminal")
	})

	t.Run("NoModule", func(t *testing.T) {
		t.Parallel()
		_, err := r.CurrentModule().Name(within(t))
		assert.ErrorContains(t, err, "no current module")
	})
}

// settings judges what takes back what was set, and mounts of other kinds.
func (r *rig) settings(t *testing.T) {
	t.Run("Without", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.appImage().WithoutEntrypoint(dagger.ContainerWithoutEntrypointOpts{KeepDefaultArgs: true})
		entrypoint, err := c.Entrypoint(ctx)
		require.NoError(t, err)
		assert.Empty(t, entrypoint)
		args, err := c.DefaultArgs(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"default"}, args)
		args, err = r.appImage().WithoutEntrypoint().DefaultArgs(ctx)
		require.NoError(t, err)
		assert.Empty(t, args)
		c = c.WithoutDefaultArgs().WithoutUser().WithoutWorkdir().WithoutLabel("org.example.title").WithoutExposedPort(8080)
		args, err = c.DefaultArgs(ctx)
		require.NoError(t, err)
		assert.Empty(t, args)
		ports, err := c.ExposedPorts(ctx)
		require.NoError(t, err)
		assert.Empty(t, ports)
		label, err := c.Label(ctx, "org.example.title")
		require.NoError(t, err)
		assert.Empty(t, label)
		out, err := c.WithExec(bash("pwd; id -un")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "/\nroot\n", out)
	})

	t.Run("MountedFile", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		file := r.dir(map[string]string{"sub/one": "content\n", "sub/two": ""}).File("sub/one")
		c := r.base().WithMountedFile("/etc/one.conf", file, dagger.ContainerWithMountedFileOpts{Owner: "nobody"})
		out, err := c.WithExec(bash("cat /etc/one.conf; stat -c %U /etc/one.conf; test -s /etc/passwd; test ! -e /etc/two")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "content\nnobody\n", out)
		out, err = c.File("/etc/one.conf").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "content\n", out)
		_, err = c.WithoutMount("/etc/one.conf").WithExec(bash("cat /etc/one.conf")).Sync(ctx)
		assert.Error(t, err)
	})

	t.Run("MountedTemp", func(t *testing.T) {
		t.Parallel()
		out, err := r.base().WithMountedTemp("/scratch").WithExec(bash("stat -f -c %T /scratch; touch /scratch/f")).
			WithExec(bash("ls -A /scratch")).Stdout(within(t))
		require.NoError(t, err)
		assert.Empty(t, out)
	})

	t.Run("UnixSocket", func(t *testing.T) {
		t.Parallel()
		socket := greeter(t)
		out, err := r.fresh().WithUnixSocket("/run/greeter.sock", r.Host().UnixSocket(socket)).
			WithExec([]string{"perl", "-MIO::Socket::UNIX", "-e", `print IO::Socket::UNIX->new("/run/greeter.sock")->getline`}).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "hello from the host\n", out)
	})

	t.Run("Nesting", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		asking := r.fresh().WithUser("nobody").
			WithExec(bash(askSession), dagger.ContainerWithExecOpts{ExperimentalPrivilegedNesting: true})
		out, err := asking.Stdout(ctx)
		require.NoError(t, err)
		assert.Contains(t, out, "HTTP/1.1 200 OK")
		assert.Contains(t, out, `"contents":"made within"`)
		_, err = asking.WithExec(bash(`[ -z "${DAGGER_SESSION_TOKEN:-}${DAGGER_SESSION_PORT:-}" ]`)).Sync(ctx)
		assert.NoError(t, err, "the session is only for the command that asks for it")
	})

	t.Run("HostService", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
		t.Cleanup(server.Close)
		address := server.Listener.Addr().String()
		_, text, err := net.SplitHostPort(address)
		require.NoError(t, err)
		backend, err := strconv.Atoi(text)
		require.NoError(t, err)
		for _, test := range []struct {
			service *dagger.Service
			port    string
		}{
			{r.Host().Service([]dagger.PortForward{{Backend: backend, Frontend: 80}}, dagger.HostServiceOpts{Host: "127.0.0.1"}), "80"},
			{r.Host().Service([]dagger.PortForward{{Backend: backend, Frontend: backend}}), text},
			{r.Address("tcp://" + address).Service(), text},
		} {
			out, err := r.fresh().WithServiceBinding("host", test.service).WithExec(bash("exec 3<> /dev/tcp/host/" + test.port + `; printf 'GET / HTTP/1.0\r\n\r\n' >&3; head -n 1 <&3`)).Stdout(ctx)
			require.NoError(t, err)
			assert.Equal(t, "HTTP/1.0 200 OK\r\n", out)
		}
		_, err = r.Host().Service(nil).Start(ctx)
		assert.Error(t, err, "a service without ports")
	})

	t.Run("Rootfs", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		root := r.base().WithNewFile("/added", "text").WithMountedDirectory("/mnt", r.dir(map[string]string{"mounted": ""})).Rootfs()
		text, err := root.File("added").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "text", text)
		entries, err := root.Directory("mnt").Entries(ctx)
		require.NoError(t, err)
		assert.Empty(t, entries, "mounts are not part of it")
		out, err := r.Container().WithRootfs(root).WithExec([]string{"/bin/cat", "/added"}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "text", out)
	})
}

// trees judges what directories can be asked and how they change.
func (r *rig) trees(t *testing.T) {
	t.Run("Glob", func(t *testing.T) {
		t.Parallel()
		d := r.dir(map[string]string{"a.go": "", "a.md": "", "sub/b.go": "", "sub/deep/c.go": ""})
		for pattern, want := range map[string]string{
			"*.go": "a.go", "**/*.go": "a.go sub/b.go sub/deep/c.go", "sub/*": "sub/b.go sub/deep/", "*.py": "",
		} {
			got, err := d.Glob(within(t), pattern)
			require.NoError(t, err, pattern)
			assert.ElementsMatch(t, strings.Fields(want), got, pattern)
		}
		none, err := r.Directory().Glob(within(t), "*")
		require.NoError(t, err)
		assert.Empty(t, none)
	})

	t.Run("Without", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		d := r.dir(map[string]string{"a": "", "b": "", "c": "", "sub/d": "", "sub/e": ""})
		entries, err := d.WithoutFile("a").WithoutFile("not-there").WithoutFiles([]string{"b", "sub/d"}).Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"c", "sub/"}, entries)
		entries, err = d.Directory("sub").WithoutFile("e").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"d"}, entries)
		entries, err = d.WithoutDirectory("sub").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b", "c"}, entries)
		_, err = r.base().WithoutFile("/etc/hostname").WithoutDirectory("/var/log").
			WithExec(bash("test ! -e /etc/hostname -a ! -e /var/log -a -e /etc/passwd")).Sync(ctx)
		require.NoError(t, err)
	})

	t.Run("Exists", func(t *testing.T) {
		t.Parallel()
		d := r.base().WithExec(bash("mkdir -p /d/sub; touch /d/file; ln -s file /d/link")).Directory("/d")
		for _, test := range []struct {
			path string
			kind dagger.ExistsType
			want bool
		}{
			{"file", "", true}, {"file", dagger.ExistsTypeRegularType, true}, {"file", dagger.ExistsTypeDirectoryType, false},
			{"sub", dagger.ExistsTypeDirectoryType, true}, {"link", dagger.ExistsTypeRegularType, true},
			{"link", dagger.ExistsTypeSymlinkType, true}, {"file", dagger.ExistsTypeSymlinkType, false}, {"none", "", false},
		} {
			got, err := d.Exists(within(t), test.path, dagger.DirectoryExistsOpts{ExpectedType: test.kind})
			require.NoError(t, err, "%+v", test)
			assert.Equal(t, test.want, got, "%+v", test)
		}
	})

	t.Run("Made", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		source := r.dir(map[string]string{"a.go": "a", "b.md": "b"})
		entries, err := source.Filter(dagger.DirectoryFilterOpts{Include: []string{"*.go"}}).Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"a.go"}, entries)
		entries, err = r.Directory().WithNewDirectory("x/y").WithFiles("x", []*dagger.File{source.File("a.go"), source.File("b.md").WithName("c")}).
			Directory("x").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"a.go", "c", "y/"}, entries)
		name, err := source.File("b.md").WithName("c").Name(ctx)
		require.NoError(t, err)
		assert.Equal(t, "c", name)
		out, err := r.base().WithFiles("/in", []*dagger.File{source.File("a.go")}, dagger.ContainerWithFilesOpts{Owner: "nobody"}).
			WithExec(bash("stat -c %U /in/a.go")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "nobody\n", out)
	})

	t.Run("Changes", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		before := r.dir(map[string]string{"same": "1", "modified": "1", "removed": "1", "gone/a": "", "gone/b": ""})
		after := before.WithNewFile("modified", "2").WithNewFile("new/added", "").WithoutFile("removed").WithoutDirectory("gone")
		changes := after.Changes(before)
		for want, ask := range map[string]func() ([]string, error){
			"new/ new/added": func() ([]string, error) { return changes.AddedPaths(ctx) },
			"modified":       func() ([]string, error) { return changes.ModifiedPaths(ctx) },
			"gone/ removed":  func() ([]string, error) { return changes.RemovedPaths(ctx) },
		} {
			got, err := ask()
			require.NoError(t, err)
			assert.ElementsMatch(t, strings.Fields(want), got)
		}
		empty, err := changes.IsEmpty(ctx)
		require.NoError(t, err)
		assert.False(t, empty)
		empty, err = before.Changes(before).IsEmpty(ctx)
		require.NoError(t, err)
		assert.True(t, empty)
		text, err := changes.Layer().File("modified").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "2", text)
		same, err := before.Diff(after).Exists(ctx, "same")
		require.NoError(t, err)
		assert.False(t, same)
		dest := writeTree(t, map[string]string{"same": "1", "modified": "1", "removed": "1", "gone/a": "", "mine": "kept"})
		_, err = changes.Export(ctx, dest)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"same": "1", "modified": "2", "new/added": "", "mine": "kept"}, readTree(t, dest))
	})
}

// publish judges how images go to a registry and to files.
func (r *rig) publish(t *testing.T) {
	t.Run("Publish", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		registry, _, _ := strings.Cut(r.Base, "/")
		address := registry + "/published/" + strings.ToLower(nonce()) + ":v1"
		key := nonce()
		ref, err := r.base().WithNewFile("/key", key).WithLabel("org.example.key", key).Publish(ctx, address)
		require.NoError(t, err)
		assert.Regexp(t, "^"+address+"@sha256:[0-9a-f]{64}$", ref)
		text, err := r.Container().From(ref).File("/key").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, key, text)
		label, err := r.Container().From(address).Label(ctx, "org.example.key")
		require.NoError(t, err)
		assert.Equal(t, key, label)
	})

	t.Run("PlatformVariants", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		registry, _, _ := strings.Cut(r.Base, "/")
		address := registry + "/published/" + strings.ToLower(nonce())
		var variants []*dagger.Container
		for _, platform := range []dagger.Platform{"linux/amd64", "linux/arm64"} {
			variants = append(variants, r.Container(dagger.ContainerOpts{Platform: platform}).WithNewFile("/platform", string(platform)))
		}
		ref, err := r.Container().Publish(ctx, address, dagger.ContainerPublishOpts{PlatformVariants: variants})
		require.NoError(t, err)
		assert.Contains(t, ref, address+"@sha256:")
		parsed, err := name.ParseReference(address)
		require.NoError(t, err)
		index, err := remote.Index(parsed)
		require.NoError(t, err)
		manifest, err := index.IndexManifest()
		require.NoError(t, err)
		require.Len(t, manifest.Manifests, 2)
		assert.ElementsMatch(t, []string{"amd64", "arm64"}, []string{manifest.Manifests[0].Platform.Architecture, manifest.Manifests[1].Platform.Architecture})
		file := filepath.Join(t.TempDir(), "image.tar")
		_, err = r.Container().AsTarball(dagger.ContainerAsTarballOpts{PlatformVariants: variants}).Export(ctx, file)
		require.NoError(t, err)
		text, err := r.Container(dagger.ContainerOpts{Platform: "linux/arm64"}).Import(r.Host().File(file)).File("/platform").Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, "linux/arm64", text)
	})

	t.Run("Export", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "image.tar")
		_, err := r.Directory().WithNewFile("f", "text").File("f").Contents(within(t))
		require.NoError(t, err)
		_, err = r.Container().WithNewFile("/f", "text").Export(within(t), file)
		require.NoError(t, err)
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.NotZero(t, info.Size())
	})
}

// greeter listens on a Unix socket of the host and greets whoever connects. It returns the path of the socket.
func greeter(t *testing.T) string {
	t.Helper()
	// Not below the test's own directory: a socket's path is short.
	dir, err := os.MkdirTemp("", "greeter-*")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello from the host\n")
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// askSession has the session of its container answer a query, and prints the response.
const askSession = `body='{"query":"{directory{withNewFile(path:\"f\",contents:\"made within\"){file(path:\"f\"){contents}}}}"}'
exec 3<>"/dev/tcp/127.0.0.1/$DAGGER_SESSION_PORT"
printf 'POST /query HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\n' \
  "$(printf '%s:' "$DAGGER_SESSION_TOKEN" | base64 -w0)" >&3
printf 'Connection: close\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body" >&3
cat <&3`
