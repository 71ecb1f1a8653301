package image

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// failFirst answers the first n requests that match in place of the registry.
func failFirst(n int64, match func(*http.Request) bool, answer http.HandlerFunc) func(http.Handler) http.Handler {
	var left atomic.Int64
	left.Store(n)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if match(req) && left.Add(-1) >= 0 {
				answer(w, req)
				return
			}
			next.ServeHTTP(w, req)
		})
	}
}

func is(method string) func(*http.Request) bool {
	return func(req *http.Request) bool { return req.Method == method }
}

func anything(*http.Request) bool { return true }

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":"SOME","message":"answer %d"}]}`, code)
	}
}

// drop reads a part of the request and closes the connection.
func drop(w http.ResponseWriter, req *http.Request) {
	_, _ = req.Body.Read(make([]byte, 1024))
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestPushRetries(t *testing.T) {
	noConfig(t)
	for _, tt := range []struct {
		name string
		wrap func(http.Handler) http.Handler
	}{
		{"the first request", failFirst(2, anything, status(http.StatusServiceUnavailable))},
		{"a look-up", failFirst(2, is(http.MethodHead), status(http.StatusTooManyRequests))},
		{"the start of an upload", failFirst(3, is(http.MethodPost), status(http.StatusBadGateway))},
		{"a body", failFirst(3, is(http.MethodPatch), status(http.StatusInternalServerError))},
		{"the end of an upload", failFirst(2, is(http.MethodPut), status(http.StatusGatewayTimeout))},
		{"a dropped body", failFirst(2, is(http.MethodPatch), drop)},
		{"a dropped look-up", failFirst(2, is(http.MethodHead), drop)},
		{"a dropped manifest", failFirst(2, func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		}, drop)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := serve(t, tt.wrap)
			got, err := Push(t.Context(), Options{
				Tarball: tarball(t, newImage(t, emptyImage(), 256<<10, 3)), Repository: host + "/vote", Tags: []string{"a"}, Registry: quick,
			})
			require.NoError(t, err)
			require.Equal(t, 4, got.Uploaded)
			digest, err := resolve(t.Context(), host+"/vote:a", quick)
			require.NoError(t, err)
			require.Equal(t, got.Digest, digest)
		})
	}
}

func TestPushGivesUp(t *testing.T) {
	noConfig(t)
	var asked recorded
	host := serve(t, failFirst(1000, is(http.MethodPost), status(http.StatusServiceUnavailable)), asked.wrap)
	_, err := Push(t.Context(), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 0)), Repository: host + "/vote", Tags: []string{"a"}, Registry: quick,
	})
	require.ErrorContains(t, err, "answer 503")
	require.ErrorContains(t, err, fmt.Sprintf("answered so %d times", attempts))
	require.Len(t, asked.writes(), attempts, "bounded, and not multiplied by the layers of retrying code")
}

func TestPushHonoursRetryAfter(t *testing.T) {
	noConfig(t)
	var mu sync.Mutex
	var at []time.Time
	note := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost {
				mu.Lock()
				at = append(at, time.Now())
				mu.Unlock()
			}
			next.ServeHTTP(w, req)
		})
	}
	host := serve(t, failFirst(1, is(http.MethodPost), status(http.StatusTooManyRequests, "Retry-After", "1")), note)
	var seen events
	_, err := Push(seen.in(t.Context()), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 0)), Repository: host + "/vote", Registry: quick,
	})
	require.NoError(t, err)
	require.Len(t, at, 2)
	require.GreaterOrEqual(t, at[1].Sub(at[0]), 900*time.Millisecond)
	require.Contains(t, seen.String(), "429 Too Many Requests: trying again in 1s")
}

func TestPushRefusesALongPause(t *testing.T) {
	noConfig(t)
	var asked recorded
	host := serve(t, failFirst(1000, is(http.MethodPost), status(http.StatusTooManyRequests, "Retry-After", "3600")), asked.wrap)
	_, err := Push(t.Context(), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 0)), Repository: host + "/vote", Registry: quick,
	})
	require.ErrorContains(t, err, "asks to come back in 1h")
	require.Len(t, asked.writes(), 1)
}

func TestPushCancelledInAPause(t *testing.T) {
	noConfig(t)
	host := serve(t, failFirst(1000, is(http.MethodPost), status(http.StatusTooManyRequests, "Retry-After", "60")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	ctx = (&events{}).in(ctx)
	timer := time.AfterFunc(100*time.Millisecond, cancel)
	defer timer.Stop()
	_, err := Push(ctx, Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 0)), Repository: host + "/vote", Registry: quick,
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), 10*time.Second)
}

// Who set a time limit learns what it was spent on.
func TestPushOutOfTimeInAPause(t *testing.T) {
	noConfig(t)
	host := serve(t, failFirst(1000, is(http.MethodPost), status(http.StatusServiceUnavailable, "Retry-After", "60")))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Push(ctx, Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 0)), Repository: host + "/vote", Registry: quick,
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "wait for "+host+", which answered 503")
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"-7":                            0,
		"soon":                          0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(value, now), value)
	}
}
