package conformance

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secret judges that secrets arrive where they are wanted, and nowhere else.
func (r *rig) secret(t *testing.T) {
	t.Run("Variable", func(t *testing.T) {
		t.Parallel()
		plain := "variable " + nonce()
		out, err := r.fresh().WithSecretVariable("S", r.SetSecret(nonce(), plain)).
			WithExec(bash(`printf %s "$S" | sha256sum`)).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, sum(plain)+"  -\n", out)
	})

	t.Run("Mount", func(t *testing.T) {
		t.Parallel()
		plain := "mount " + nonce()
		out, err := r.fresh().WithMountedSecret("/run/secrets/s", r.SetSecret(nonce(), plain)).
			WithExec(bash("sha256sum < /run/secrets/s; stat -c '%a %u' /run/secrets/s")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, sum(plain)+"  -\n400 0\n", out)
		out, err = r.fresh().WithUser("nobody").
			WithMountedSecret("/s", r.SetSecret(nonce(), plain), dagger.ContainerWithMountedSecretOpts{Owner: "nobody", Mode: 0o440}).
			WithExec(bash("sha256sum < /s; stat -c '%a %U' /s")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, sum(plain)+"  -\n440 nobody\n", out)
	})

	t.Run("Build", func(t *testing.T) {
		t.Parallel()
		name, plain := nonce(), "build "+nonce()
		c := r.dir(map[string]string{
			"Dockerfile": "FROM " + r.Base + "\nRUN --mount=type=secret,id=" + name + " sha256sum < /run/secrets/" + name + " > /sum\n",
		}).DockerBuild(dagger.DirectoryDockerBuildOpts{Secrets: []*dagger.Secret{r.SetSecret(name, plain)}})
		out, err := c.File("/sum").Contents(within(t))
		require.NoError(t, err)
		assert.Equal(t, sum(plain)+"  -\n", out)
		r.nowhere(t, plain, c)
	})

	t.Run("FromTheHost", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "secret")
		plain := "file " + nonce()
		require.NoError(t, os.WriteFile(file, []byte(plain), 0o600))
		out, err := r.fresh().WithSecretVariable("S", r.Client.Secret("file://"+file)).
			WithExec(bash(`printf %s "$S" | sha256sum`)).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, sum(plain)+"  -\n", out)
		_, err = r.fresh().WithSecretVariable("S", r.Client.Secret("env://NO_SUCH_"+nonce())).
			WithExec([]string{"true"}).Sync(within(t))
		assert.Error(t, err)
	})

	t.Run("Plaintext", func(t *testing.T) {
		t.Parallel()
		name, plain := nonce(), nonce()
		s := r.SetSecret(name, plain)
		got, err := s.Plaintext(within(t))
		require.NoError(t, err)
		assert.Equal(t, plain, got)
		got, err = s.Name(within(t))
		require.NoError(t, err)
		assert.Equal(t, name, got)
	})

	t.Run("Service", func(t *testing.T) {
		t.Parallel()
		plain := "service " + nonce()
		srv := r.fresh().WithSecretVariable("S", r.SetSecret(nonce(), plain)).WithExposedPort(8080).
			AsService(dagger.ContainerAsServiceOpts{Args: bash(`exec perl -e '` + serve + `' 8080 "$(printf %s "$S" | sha256sum)"`)})
		out, err := r.base().WithServiceBinding("srv", srv).WithExec(asking("srv", 8080)).Stdout(within(t))
		require.NoError(t, err)
		assert.Contains(t, out, sum(plain))
	})

	// A token that is issued anew for each run must not build everything anew.
	t.Run("ValueIsNotTheKey", func(t *testing.T) {
		t.Parallel()
		key, name, plain := nonce(), nonce(), nonce()
		run := func(plain string) string {
			r, done := r.with(t)
			defer done()
			out, err := r.base().WithEnvVariable("KEY", key).WithSecretVariable("S", r.SetSecret(name, plain)).
				WithExec(bash(printRun)).Stdout(within(t))
			require.NoError(t, err)
			return out
		}
		first := run(plain)
		assert.Equal(t, first, run(plain+"rotated"))
	})

	t.Run("StaysOutOfTheImage", func(t *testing.T) {
		t.Parallel()
		name, plain := nonce(), "hidden "+nonce()
		c := r.fresh().WithSecretVariable("S", r.SetSecret(name, plain)).WithMountedSecret("/secret", r.SetSecret(name+"2", plain)).
			WithExec(bash("test -n \"$S\" -a -s /secret; touch /done"))
		_, err := c.Sync(within(t))
		require.NoError(t, err)
		r.nowhere(t, plain, c)
		image := r.tarball(t, c)
		assert.True(t, image.has(t, "done"))
		for _, variable := range image.config.Config.Env {
			assert.NotContains(t, variable, "S=")
		}
	})

	t.Run("StaysOutOfErrors", func(t *testing.T) {
		t.Parallel()
		plain := "leaked" + nonce()
		c := r.fresh().WithSecretVariable("S", r.SetSecret(nonce(), plain)).
			WithExec(bash(`echo "$S"; echo "it is $S." >&2; exit 1`))
		_, err := c.Sync(within(t))
		var failed *dagger.ExecError
		require.ErrorAs(t, err, &failed)
		for _, text := range []string{failed.Error(), failed.Stdout, failed.Stderr} {
			assert.NotContains(t, text, plain)
		}
		assert.Contains(t, failed.Stderr, "it is ***.")
		err = r.Do(within(t), &dagger.Request{Query: `{setSecret(name:"` + nonce() + `",plaintext:"` + plain + `"){noSuchField}}`},
			&dagger.Response{Data: new(any)})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), plain)
	})

	t.Run("StaysOutOfOutput", func(t *testing.T) {
		t.Parallel()
		plain := "printed" + nonce()
		out, err := r.fresh().WithSecretVariable("S", r.SetSecret(nonce(), plain)).WithExec(bash(`echo "it is $S."`)).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "it is ***.\n", out)
	})
}

// nowhere checks that a secret stands neither in the ID of a container nor in its image.
func (r *rig) nowhere(t *testing.T, plain string, c *dagger.Container) {
	t.Helper()
	id, err := c.ID(within(t))
	require.NoError(t, err)
	texts := map[string]string{"the ID": string(id)}
	if raw, err := hex.DecodeString(string(id)); err == nil {
		texts["the decoded ID"] = string(raw)
	}
	if raw, err := base64.StdEncoding.DecodeString(string(id)); err == nil {
		texts["the decoded ID"] = string(raw)
	}
	image := r.tarball(t, c)
	config, err := json.Marshal(image.config)
	require.NoError(t, err)
	texts["the image's configuration"] = string(config)
	image.entries(t, func(name string, content io.Reader) {
		text, err := io.ReadAll(content)
		require.NoError(t, err)
		if strings.Contains(string(text), plain) {
			assert.Fail(t, "a secret", "in the image's file %s", name)
		}
	})
	for name, text := range texts {
		assert.NotContains(t, text, plain, name)
	}
}

// sum is what sha256sum prints for a text.
func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
