package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// queue ships its numbers, then fails or ends the test's run.
type queue struct {
	open []int64
	last error
	end  context.CancelFunc
}

func (q *queue) Ship(context.Context) (int64, bool, error) {
	if len(q.open) == 0 {
		q.end()
		return 0, false, q.last
	}
	id := q.open[0]
	q.open = q.open[1:]
	return id, true, nil
}

func TestWorkerShipsAll(t *testing.T) {
	for _, tt := range []struct {
		last   error
		status int
	}{{nil, http.StatusOK}, {errors.New("gone"), http.StatusServiceUnavailable}} {
		ctx, cancel := context.WithCancel(t.Context())
		w := &worker{store: &queue{open: []int64{1, 2, 3}, last: tt.last, end: cancel}}
		w.run(ctx, 0)
		if n := w.shipped.Load(); n != 3 {
			t.Errorf("%d shipped", n)
		}
		r := httptest.NewRecorder()
		w.ServeHTTP(r, nil)
		if r.Code != tt.status {
			t.Errorf("%v: %d %s", tt.last, r.Code, r.Body)
		}
	}
}
