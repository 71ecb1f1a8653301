package conformance

import (
	"sync"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// cache judges what runs once, what runs again, and cache volumes.
func (r *rig) cache(t *testing.T) {
	t.Run("OutputIsReplayed", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		key := nonce()
		run := func() (stdout, stderr string, code int) {
			r, done := r.with(t)
			defer done()
			c := r.base().WithEnvVariable("NONCE", key).WithExec(bash(printRun+"; "+printRun+" >&2; exit 9"),
				dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
			stdout, err := c.Stdout(ctx)
			require.NoError(t, err)
			stderr, err = c.Stderr(ctx)
			require.NoError(t, err)
			code, err = c.ExitCode(ctx)
			require.NoError(t, err)
			return stdout, stderr, code
		}
		stdout, stderr, code := run()
		again, againErr, againCode := run()
		assert.Equal(t, stdout, again)
		assert.Equal(t, stderr, againErr)
		assert.NotEqual(t, stdout, stderr)
		assert.Equal(t, 9, code)
		assert.Equal(t, code, againCode)
	})

	t.Run("FailureIsNotRemembered", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		key := nonce()
		run := func() string {
			r, done := r.with(t)
			defer done()
			_, err := r.base().WithEnvVariable("NONCE", key).WithExec(bash(printRun + "; exit 1")).Sync(ctx)
			var failed *dagger.ExecError
			require.ErrorAs(t, err, &failed)
			return failed.Stdout
		}
		assert.NotEqual(t, run(), run())
	})

	t.Run("LeavesShareOneRun", func(t *testing.T) {
		t.Parallel()
		volume := r.CacheVolume(nonce())
		c := r.fresh().WithMountedCache("/shared", volume).
			WithExec(bash(printRun + " | tee -a /shared/runs | tee /run-id; sleep 1"))
		var leaves errgroup.Group
		var mu sync.Mutex
		seen := map[string]int{}
		for _, leaf := range []func() (string, error){
			func() (string, error) { return c.Stdout(within(t)) },
			func() (string, error) { return c.File("/run-id").Contents(within(t)) },
			func() (string, error) { return c.Directory("/").File("run-id").Contents(within(t)) },
			func() (string, error) { return c.WithExec(bash("cat /run-id")).Stdout(within(t)) },
		} {
			for range 3 {
				leaves.Go(func() error {
					id, err := leaf()
					mu.Lock()
					defer mu.Unlock()
					seen[id]++
					return err
				})
			}
		}
		require.NoError(t, leaves.Wait())
		assert.Len(t, seen, 1, "different answers from one graph")
		out, err := r.fresh().WithMountedCache("/shared", volume).WithExec(bash("wc -l < /shared/runs")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "1\n", out, "runs")
	})

	t.Run("WhatACommandSeesIsItsKey", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		key := nonce()
		seen := map[string]string{}
		for name, c := range map[string]*dagger.Container{
			"plain":     r.base(),
			"variable":  r.base().WithEnvVariable("X", "1"),
			"value":     r.base().WithEnvVariable("X", "2"),
			"workdir":   r.base().WithWorkdir("/var"),
			"user":      r.base().WithUser("nobody"),
			"mount":     r.base().WithMountedDirectory("/m", r.dir(map[string]string{"f": "1"})),
			"content":   r.base().WithMountedDirectory("/m", r.dir(map[string]string{"f": "2"})),
			"place":     r.base().WithMountedDirectory("/n", r.dir(map[string]string{"f": "2"})),
			"directory": r.base().WithDirectory("/m", r.dir(map[string]string{"f": "2"})),
		} {
			out, err := c.WithExec(bash(printRun + "; : " + key)).Stdout(ctx)
			require.NoError(t, err, name)
			assert.NotContains(t, seen, out, "%s: did not run again", name)
			seen[out] = name
		}
	})

	t.Run("VolumesPersist", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		name := nonce()
		_, err := r.fresh().WithMountedCache("/v", r.CacheVolume(name)).WithExec(bash("echo kept > /v/file")).Sync(ctx)
		require.NoError(t, err)
		out, err := r.fresh().WithMountedCache("/w", r.CacheVolume(name)).WithExec(bash("cat /w/file")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "kept\n", out)
		out, err = r.fresh().WithMountedCache("/w", r.CacheVolume(name+"other")).WithExec(bash("ls -A /w")).Stdout(ctx)
		require.NoError(t, err)
		assert.Empty(t, out, "in another volume")
		other, done := r.with(t)
		defer done()
		out, err = other.fresh().WithMountedCache("/w", other.CacheVolume(name)).WithExec(bash("cat /w/file")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "kept\n", out, "in another session")
	})

	t.Run("VolumesMayHaveAnOwner", func(t *testing.T) {
		t.Parallel()
		out, err := r.fresh().WithUser("nobody").
			WithMountedCache("/v", r.CacheVolume(nonce()), dagger.ContainerWithMountedCacheOpts{Owner: "nobody"}).
			WithExec(bash("echo kept > /v/file; stat -c %U /v/file")).Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "nobody\n", out)
	})

	t.Run("VolumesMayBeLocked", func(t *testing.T) {
		t.Parallel()
		volume := r.CacheVolume(nonce())
		var users errgroup.Group
		for range 3 {
			users.Go(func() error {
				_, err := r.fresh().
					WithMountedCache("/v", volume, dagger.ContainerWithMountedCacheOpts{Sharing: dagger.CacheSharingModeLocked}).
					WithExec(bash("mkdir /v/lock; sleep 0.5; rmdir /v/lock")).Sync(within(t))
				return err
			})
		}
		assert.NoError(t, users.Wait(), "two at once")
	})

	t.Run("VolumesAreNotTheImage", func(t *testing.T) {
		t.Parallel()
		entries, err := r.fresh().WithMountedCache("/v", r.CacheVolume(nonce())).
			WithExec(bash("echo kept > /v/file")).WithMountedDirectory("/v", r.Directory()).
			WithExec(bash("ls -A /v")).Stdout(within(t))
		require.NoError(t, err)
		assert.Empty(t, entries)
	})
}
