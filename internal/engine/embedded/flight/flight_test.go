package flight

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWorkIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Group[int]
		var runs atomic.Int32
		work := func(ctx context.Context) (int, error) {
			runs.Add(1)
			select {
			case <-time.After(time.Second):
				return 7, nil
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		impatient, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 3)
		for _, ctx := range []context.Context{impatient, t.Context(), t.Context()} {
			go func() {
				v, err := f.Do(ctx, t.Context(), "k", work)
				if err == nil {
					assert.Equal(t, 7, v)
				}
				errs <- err
			}()
		}
		synctest.Wait()
		cancel() // one leaves, the others stay
		require.ErrorIs(t, <-errs, context.Canceled)
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		assert.EqualValues(t, 1, runs.Load())
		_, err := f.Do(t.Context(), t.Context(), "k", work)
		require.NoError(t, err)
		assert.EqualValues(t, 2, runs.Load(), "nothing is remembered")
		for range 2 {
			_, err := f.Once(t.Context(), t.Context(), "k", work)
			require.NoError(t, err)
		}
		assert.EqualValues(t, 3, runs.Load(), "but by once")
	})
}

func TestWorkEndsWithTheLastWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Group[int]
		ended := make(chan error, 1)
		work := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return 0, context.Cause(ctx)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		_, err := f.Do(ctx, t.Context(), "k", work)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, <-ended, context.Canceled)

		base, end := context.WithCancelCause(t.Context())
		go func() {
			synctest.Wait()
			end(errClosed)
		}()
		_, err = f.Do(t.Context(), base, "k", work)
		require.ErrorIs(t, err, errClosed)
	})
}

var errClosed = errors.New("closed")
