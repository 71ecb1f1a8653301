package conformance

import (
	"archive/tar"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dagger.io/dagger"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/ociimage"
)

// image judges dockerBuild, and the tarball in which an image travels.
func (r *rig) image(t *testing.T) {
	t.Run("Build", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		context := r.dir(map[string]string{
			"sub/Other.dockerfile": `# syntax=docker/dockerfile:1.99-no-such
ARG BASE=no-such-image
FROM $BASE AS one
ARG GREETING=unset
RUN echo "one $GREETING" > /stage
FROM $BASE AS two
ARG GREETING=unset
COPY --from=one /stage /from-one
RUN echo "two $GREETING" > /stage
FROM two
RUN <<EOF
echo last > /stage
EOF
`})
		args := []dagger.BuildArg{{Name: "BASE", Value: r.Base}, {Name: "GREETING", Value: "hello world"}}
		for target, want := range map[string]string{"one": "one hello world\n", "two": "two hello world\n", "": "last\n"} {
			got, err := context.DockerBuild(dagger.DirectoryDockerBuildOpts{
				Dockerfile: "sub/Other.dockerfile", Target: target, BuildArgs: args,
			}).File("/stage").Contents(ctx)
			require.NoError(t, err, "target %q", target)
			assert.Equal(t, want, got)
		}
	})

	t.Run("BuildMounts", func(t *testing.T) {
		t.Parallel()
		c := r.dir(map[string]string{
			"given": "given\n",
			"Dockerfile": "FROM " + r.Base + " AS maker\nRUN echo made > /made\nFROM " + r.Base + `
SHELL ["/bin/bash", "-euc"]
RUN --mount=type=cache,target=/cache --mount=type=bind,target=/context --mount=type=bind,from=maker,source=/made,target=/made \
    --mount=type=tmpfs,target=/scratch echo ` + nonce() + ` > /cache/f && touch /scratch/f && cat /context/given /made > /seen
COPY --chown=nobody --chmod=640 given /owned
RUN stat -c '%U %a' /owned >> /seen; test ! -e /cache -a ! -e /scratch -a ! -e /made -a ! -e /context
`}).DockerBuild()
		seen, err := c.File("/seen").Contents(within(t))
		require.NoError(t, err)
		assert.Equal(t, "given\nmade\nnobody 640\n", seen)
	})

	t.Run("BuildErrors", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		for name, test := range map[string]struct {
			dockerfile, target string
			want               []string
		}{
			"a step fails":    {dockerfile: "FROM " + r.Base + "\nRUN exit 7\n", want: []string{"exit code: 7"}},
			"no such target":  {dockerfile: "FROM " + r.Base + " AS real\n", target: "unreal", want: []string{"unreal"}},
			"no such command": {dockerfile: "FROM " + r.Base + "\nRAN true\n", want: []string{"RAN"}},
			"nothing to copy": {dockerfile: "FROM " + r.Base + "\nCOPY no-such-file /\n", want: []string{"no-such-file"}},
			"no such base":    {dockerfile: "FROM 127.0.0.1:9/no/such:base\n", want: []string{"127.0.0.1:9/no/such:base"}},
		} {
			_, err := r.dir(map[string]string{"Dockerfile": test.dockerfile}).
				DockerBuild(dagger.DirectoryDockerBuildOpts{Target: test.target}).Sync(ctx)
			require.Error(t, err, name)
			for _, want := range test.want {
				assert.ErrorContains(t, err, want, name)
			}
		}
		_, err := r.Directory().DockerBuild().Sync(ctx)
		require.Error(t, err)
		assert.ErrorContains(t, err, "Dockerfile")
	})

	// The SDK leaves empty values out, so the query is put together here.
	t.Run("EmptyBuildArgument", func(t *testing.T) {
		t.Parallel()
		context := r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + "\nARG SUFFIX=default\nRUN echo \"<$SUFFIX>\" > /seen\n"})
		built := new(dagger.Container).WithGraphQLQuery(r.QueryBuilder().Select("node").Arg("id", context).
			InlineFragment("Directory").Select("dockerBuild").Arg("buildArgs", []map[string]string{{"name": "SUFFIX", "value": ""}}))
		seen, err := built.File("/seen").Contents(within(t))
		require.NoError(t, err)
		assert.Equal(t, "<>\n", seen)
	})

	t.Run("BuildWithSSHAgent", func(t *testing.T) {
		t.Parallel()
		// Not below the test's own directory: a socket's path is short.
		dir, err := os.MkdirTemp("", "agent-*")
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		socket := filepath.Join(dir, "s")
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "hello from the agent\n")
				_ = conn.Close()
			}
		}()
		c := r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + `
RUN --mount=type=ssh,required=true perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die $!; print scalar <$s>' > /said
`}).DockerBuild(dagger.DirectoryDockerBuildOpts{SSH: r.Host().UnixSocket(socket)})
		said, err := c.File("/said").Contents(within(t))
		require.NoError(t, err)
		assert.Equal(t, "hello from the agent\n", said)
	})

	t.Run("BuildFailureShowsOutput", func(t *testing.T) {
		t.Parallel()
		_, err := r.dir(map[string]string{
			"Dockerfile": "FROM " + r.Base + "\nRUN echo to-stdout; echo to-stderr >&2; exit 7\n",
		}).DockerBuild().Sync(within(t))
		var failed *dagger.ExecError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, 7, failed.ExitCode)
		assert.Contains(t, failed.Stdout+failed.Stderr, "to-stdout")
		assert.Contains(t, failed.Stdout+failed.Stderr, "to-stderr")
	})

	t.Run("BuildHonoursDockerignore", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		dir := writeTree(t, map[string]string{
			"Dockerfile":     "FROM " + r.Base + "\nCOPY . /context\n",
			".dockerignore":  "# comment\n*.log\n**/cache\n!keep.log\n/Dockerfile\n",
			"app.py":         "",
			"drop.log":       "",
			"keep.log":       "",
			"pkg/cache/file": "",
			"pkg/mod.py":     "",
		})
		c := r.Host().Directory(dir).DockerBuild()
		entries, err := c.Directory("/context").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{".dockerignore", "app.py", "keep.log", "pkg/"}, entries)
		entries, err = c.Directory("/context/pkg").Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"mod.py"}, entries)
	})

	t.Run("BuildIgnoresWhatDockerignoreNames", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		dir := writeTree(t, map[string]string{
			"Dockerfile":    "FROM " + r.Base + "\nCOPY . /context\nRUN " + printRun + " > /run-id\n",
			".dockerignore": "*.log\n",
			"app.py":        t.Name() + nonce(),
		})
		run := func() string {
			r, done := r.with(t)
			defer done()
			id, err := r.Host().Directory(dir).DockerBuild().File("/run-id").Contents(ctx)
			require.NoError(t, err)
			return id
		}
		first := run()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "new.log"), []byte("noise"), 0o600))
		assert.Equal(t, first, run())
		require.NoError(t, os.WriteFile(filepath.Join(dir, "new.py"), []byte("code"), 0o600))
		assert.NotEqual(t, first, run())
	})

	t.Run("Platform", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		context := r.dir(map[string]string{
			"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n", "amd64": "amd64", "arm64": "arm64",
		})
		for _, platform := range []dagger.Platform{"linux/amd64", "linux/arm64"} {
			c := context.DockerBuild(dagger.DirectoryDockerBuildOpts{Platform: platform})
			arch, err := c.File("/arch").Contents(ctx)
			require.NoError(t, err)
			assert.Equal(t, string(platform), "linux/"+arch)
		}
		out, err := r.Container(dagger.ContainerOpts{Platform: "linux/amd64"}).From(r.Base).
			WithExec([]string{"uname", "-m"}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "x86_64\n", out)
	})

	t.Run("TarballIsTheImage", func(t *testing.T) {
		t.Parallel()
		image := r.tarball(t, r.appImage())
		assert.Equal(t, "linux", image.config.OS)
		got := image.config.Config
		assert.Equal(t, []string{"/bin/echo", "entry"}, got.Entrypoint)
		assert.Equal(t, []string{"default"}, got.Cmd)
		assert.Contains(t, got.Env, "GREETING=hello")
		assert.Equal(t, "nobody", got.User)
		assert.Equal(t, "/srv", got.WorkingDir)
		assert.Equal(t, map[string]struct{}{"8080/tcp": {}}, got.ExposedPorts)
		assert.Equal(t, "what it is", got.Labels["org.example.title"])
		assert.Equal(t, len(image.manifest.Layers), len(image.config.RootFS.DiffIDs))
	})

	t.Run("TarballIsStable", func(t *testing.T) {
		t.Parallel()
		first := r.tarball(t, r.appImage())
		other, done := r.with(t)
		defer done()
		assert.Equal(t, first.digest, other.tarball(t, other.appImage()).digest)
	})

	t.Run("TarballComesBack", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		file := filepath.Join(t.TempDir(), "image.tar")
		_, err := r.appImage().AsTarball().Export(ctx, file)
		require.NoError(t, err)
		before := readTarball(t, file)

		other, done := r.with(t)
		defer done()
		imported := other.Container().Import(other.Host().File(file))
		after := other.tarball(t, imported)
		assert.Equal(t, before.config.Config, after.config.Config)
		assert.Equal(t, before.config.Platform(), after.config.Platform())
		assert.Equal(t, before.config.RootFS, after.config.RootFS)

		out, err := imported.WithExec(nil, dagger.ContainerWithExecOpts{UseEntrypoint: true}).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "entry default\n", out)
		out, err = imported.WithExec(bash("pwd; id -un; echo $GREETING; cat made")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "/srv\nnobody\nhello\nmade by a step\n", out)
	})

	t.Run("MountsAreNotTheImage", func(t *testing.T) {
		t.Parallel()
		c := r.fresh().WithMountedDirectory("/mounted", r.dir(map[string]string{"mounted-file": ""})).
			WithDirectory("/copied", r.dir(map[string]string{"copied-file": ""})).
			WithExec(bash("touch /made-file /mounted/made-file"))
		image := r.tarball(t, c)
		assert.True(t, image.has(t, "copied/copied-file"))
		assert.True(t, image.has(t, "made-file"))
		assert.False(t, image.has(t, "mounted/mounted-file"))
		assert.False(t, image.has(t, "mounted/made-file"))
	})

	t.Run("TarballIsAFile", func(t *testing.T) {
		t.Parallel()
		key := nonce()
		run := func() string {
			r, done := r.with(t)
			defer done()
			image := r.appImage().AsTarball()
			text, err := r.base().WithEnvVariable("NONCE", key).WithMountedFile("/in/image.tar", image).WithFile("/copy.tar", image.WithName("other")).
				WithDirectory("/dir", r.Directory().WithFile("one.tar", image).WithFiles("", []*dagger.File{image.WithName("two.tar")})).
				WithExec(bash("for f in /in/image.tar /copy.tar /dir/one.tar /dir/two.tar; do tar tf $f | grep ^index.json; cmp $f /copy.tar; done; " + printRun)).
				Stdout(within(t))
			require.NoError(t, err)
			size, err := image.Size(within(t))
			require.NoError(t, err)
			assert.Greater(t, size, 1<<20)
			return text
		}
		once := run()
		assert.Equal(t, 4, strings.Count(once, "index.json\n"), once)
		assert.Equal(t, once, run(), "the command is remembered: the same image is the same file")
	})

	t.Run("NotATarball", func(t *testing.T) {
		t.Parallel()
		_, err := r.Container().Import(r.dir(map[string]string{"f": "text"}).File("f")).Sync(within(t))
		assert.Error(t, err)
	})
}

// appImage is a small image with all that an image of an app has.
func (r *rig) appImage() *dagger.Container {
	return r.dir(map[string]string{"Dockerfile": "FROM " + r.Base + `
WORKDIR /srv
RUN echo made by a step > made
ENV GREETING=hello
LABEL org.example.title="what it is"
EXPOSE 8080
USER nobody
ENTRYPOINT ["/bin/echo", "entry"]
CMD ["default"]
`}).DockerBuild()
}

// tarball exports a container as a tarball, and reads that.
func (r *rig) tarball(t testing.TB, c *dagger.Container) *tarball {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	_, err := c.AsTarball().Export(within(t), file)
	require.NoError(t, err)
	return readTarball(t, file)
}

// tarball is the image of an OCI tarball.
type tarball struct {
	digest   v1.Hash
	manifest *v1.Manifest
	config   *v1.ConfigFile
	layers   []v1.Layer
}

func readTarball(t testing.TB, file string) *tarball {
	t.Helper()
	image, err := ociimage.Read(file)
	require.NoError(t, err)
	read := &tarball{}
	read.digest, err = image.Digest()
	require.NoError(t, err)
	read.manifest, err = image.Manifest()
	require.NoError(t, err)
	read.config, err = image.ConfigFile()
	require.NoError(t, err)
	read.layers, err = image.Layers()
	require.NoError(t, err)
	return read
}

// entries calls visit with each file of each layer.
func (i *tarball) entries(t testing.TB, visit func(name string, content io.Reader)) {
	t.Helper()
	for _, layer := range i.layers {
		plain, err := layer.Uncompressed()
		require.NoError(t, err)
		defer plain.Close()
		for r := tar.NewReader(plain); ; {
			header, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			visit(filepath.Clean(header.Name), r)
		}
	}
}

// has reports whether a layer holds that file.
func (i *tarball) has(t testing.TB, name string) bool {
	t.Helper()
	found := false
	i.entries(t, func(entry string, _ io.Reader) { found = found || entry == name })
	return found
}
