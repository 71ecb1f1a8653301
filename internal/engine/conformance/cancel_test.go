package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heartbeat is a script that writes to a cache volume for as long as it runs.
const heartbeat = "i=0; while echo $((i += 1)) > /v/beat; do sleep 0.1; done"

// awaitHeartbeat returns when that script runs, or ctx ends.
func (r *rig) awaitHeartbeat(ctx context.Context, volume string) error {
	return r.watch(ctx, volume, "until test -s /v/beat; do sleep 0.1; done")
}

// awaitSilence returns when that script runs no more, or ctx ends.
func (r *rig) awaitSilence(ctx context.Context, volume string) error {
	return r.watch(ctx, volume, "a=; until b=$(cat /v/beat); test \"$a\" = \"$b\"; do a=$b; sleep 1; done")
}

func (r *rig) watch(ctx context.Context, volume, script string) error {
	_, err := r.fresh().WithMountedCache("/v", r.CacheVolume(volume)).WithExec(bash(script)).Sync(ctx)
	return err
}

// cancel judges what happens when the caller gives up.
func (r *rig) cancel(t *testing.T) {
	t.Run("StopsTheCommand", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		volume := nonce()
		running, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := r.fresh().WithMountedCache("/v", r.CacheVolume(volume)).WithExec(bash(heartbeat)).Sync(running)
			ended <- err
		}()
		require.NoError(t, r.awaitHeartbeat(ctx, volume))
		cancel()
		select {
		case err := <-ended:
			require.ErrorIs(t, err, context.Canceled)
		case <-time.After(10 * time.Second):
			require.Fail(t, "still waiting for a command that was cancelled")
		}
		require.NoError(t, r.awaitSilence(ctx, volume))
	})

	t.Run("LeavesOthersAlone", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		volume := nonce()
		shared := r.fresh().WithMountedCache("/v", r.CacheVolume(volume)).
			WithExec(bash("echo 1 > /v/beat; until test -e /v/go; do sleep 0.1; done; echo finished"))
		leaf := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				out, err := shared.Stdout(ctx)
				if err == nil {
					assert.Equal(t, "finished\n", out)
				}
				done <- err
			}()
			return done
		}
		impatient, cancel := context.WithCancel(ctx)
		defer cancel()
		leaves, stays := leaf(impatient), leaf(ctx)
		require.NoError(t, r.awaitHeartbeat(ctx, volume))
		cancel()
		require.ErrorIs(t, <-leaves, context.Canceled)
		require.NoError(t, r.watch(ctx, volume, "touch /v/go"))
		require.NoError(t, <-stays)
	})

	t.Run("SessionThenWorksOn", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(within(t))
		cancel()
		c := r.fresh().WithExec(bash("echo fine"))
		_, err := c.Sync(ctx)
		require.ErrorIs(t, err, context.Canceled)
		out, err := c.Stdout(within(t))
		require.NoError(t, err)
		assert.Equal(t, "fine\n", out)
	})

	t.Run("ClosingEndsWhatRuns", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		volume := nonce()
		other, done := r.with(t)
		ended := make(chan error, 1)
		go func() {
			_, err := other.fresh().WithMountedCache("/v", other.CacheVolume(volume)).
				WithExec(bash(heartbeat)).Sync(ctx)
			ended <- err
		}()
		require.NoError(t, r.awaitHeartbeat(ctx, volume))
		done()
		require.Error(t, <-ended)
		require.NoError(t, r.awaitSilence(ctx, volume))
	})
}
