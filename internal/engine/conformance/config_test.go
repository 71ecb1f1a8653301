package conformance

import (
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// config judges what a container is set to, as it is asked for, as commands see it, and as it stands in the image.
func (r *rig) config(t *testing.T) {
	t.Run("ComesFromTheImage", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.appImage()
		entrypoint, err := c.Entrypoint(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"/bin/echo", "entry"}, entrypoint)
		args, err := c.DefaultArgs(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"default"}, args)
		platform, err := c.Platform(ctx)
		require.NoError(t, err)
		assert.Contains(t, []dagger.Platform{"linux/amd64", "linux/arm64"}, platform)
		for want, ask := range map[string]func() (string, error){
			"hello":      func() (string, error) { return c.EnvVariable(ctx, "GREETING") },
			"what it is": func() (string, error) { return c.Label(ctx, "org.example.title") },
			"nobody":     func() (string, error) { return c.User(ctx) },
			"/srv":       func() (string, error) { return c.Workdir(ctx) },
		} {
			got, err := ask()
			require.NoError(t, err, want)
			assert.Equal(t, want, got)
		}
		ports, err := c.ExposedPorts(ctx)
		require.NoError(t, err)
		require.Len(t, ports, 1)
		port, err := ports[0].Port(ctx)
		require.NoError(t, err)
		assert.Equal(t, 8080, port)
		protocol, err := ports[0].Protocol(ctx)
		require.NoError(t, err)
		assert.Equal(t, dagger.NetworkProtocolTcp, protocol)
		variables, err := c.EnvVariables(ctx)
		require.NoError(t, err)
		set := map[string]string{}
		for _, v := range variables {
			name, err := v.Name(ctx)
			require.NoError(t, err)
			set[name], err = v.Value(ctx)
			require.NoError(t, err)
		}
		assert.Equal(t, "hello", set["GREETING"])
		for path, want := range map[string]bool{"/bin/sh": true, "/srv/made": true, "/srv/unmade": false, "made": true} {
			found, err := c.Exists(ctx, path)
			require.NoError(t, err, path)
			assert.Equal(t, want, found, path)
		}
		none, err := c.Label(ctx, "no.such.label")
		require.NoError(t, err)
		assert.Empty(t, none)
		none, err = c.EnvVariable(ctx, "NO_SUCH_VARIABLE")
		require.NoError(t, err)
		assert.Empty(t, none)
	})

	t.Run("GoesToTheImage", func(t *testing.T) {
		t.Parallel()
		image := r.tarball(t, r.base().
			WithEnvVariable("A", "1").WithEnvVariable("B", "2").WithoutEnvVariable("B").
			WithLabel("org.example.a", "1").
			WithEntrypoint([]string{"echo", "entry"}).WithDefaultArgs([]string{"given"}).
			WithUser("nobody").WithWorkdir("/srv").
			WithExposedPort(8080).WithExposedPort(53, dagger.ContainerWithExposedPortOpts{Protocol: dagger.NetworkProtocolUdp}))
		got := image.config.Config
		assert.Contains(t, got.Env, "A=1")
		assert.NotContains(t, got.Env, "B=2")
		assert.Equal(t, "1", got.Labels["org.example.a"])
		assert.Equal(t, []string{"echo", "entry"}, got.Entrypoint)
		assert.Equal(t, []string{"given"}, got.Cmd)
		assert.Equal(t, "nobody", got.User)
		assert.Equal(t, "/srv", got.WorkingDir)
		assert.Equal(t, map[string]struct{}{"8080/tcp": {}, "53/udp": {}}, got.ExposedPorts)
	})

	t.Run("EntrypointForgetsDefaultArgs", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		use := dagger.ContainerWithExecOpts{UseEntrypoint: true}
		c := r.base().WithDefaultArgs([]string{"given"})
		out, err := c.WithEntrypoint([]string{"echo", "entry"}).WithExec(nil, use).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "entry\n", out)
		out, err = c.WithEntrypoint([]string{"echo", "entry"}, dagger.ContainerWithEntrypointOpts{KeepDefaultArgs: true}).
			WithExec(nil, use).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "entry given\n", out)
	})

	t.Run("VariableIsUnset", func(t *testing.T) {
		t.Parallel()
		out, err := r.appImage().WithoutEnvVariable("GREETING").WithExec(bash("echo ${GREETING-unset}")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "unset\n", out)
	})

	t.Run("PathsStartFromTheWorkdir", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		c := r.base().WithWorkdir("/srv/app").WithNewFile("made", "text").
			WithDirectory("copied", r.dir(map[string]string{"f": "copied"})).
			WithMountedDirectory("mounted", r.dir(map[string]string{"f": "mounted"}))
		out, err := c.WithExec(bash("cat /srv/app/made /srv/app/copied/f /srv/app/mounted/f; echo new > new")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "textcopiedmounted", out)
		for _, path := range []string{"made", "/srv/app/made", "../app/made"} {
			out, err = c.File(path).Contents(ctx)
			require.NoError(t, err, path)
			assert.Equal(t, "text", out, path)
		}
		entries, err := c.WithExec(bash("touch new")).Directory(".").Entries(ctx)
		require.NoError(t, err)
		assert.Contains(t, entries, "new")
	})
}
