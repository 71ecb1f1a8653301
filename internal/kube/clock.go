package kube

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// clock knows how far the API server's clock is ahead of this machine's, from the Date of its answers. It is right to a
// second or two, which is how precise a Date is.
type clock struct {
	ahead atomic.Int64 // nanoseconds
	known atomic.Bool

	reached chan struct{} // closed when the first request is sent
	once    sync.Once
}

// Now is the time by the API server's clock; zero before the server has answered.
func (c *Cluster) Now() time.Time {
	if !c.clock.known.Load() {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(c.clock.ahead.Load()))
}

// clockReader reads the Date of each answer.
type clockReader struct {
	next  http.RoundTripper
	clock *clock
}

// RoundTrip implements http.RoundTripper.
func (r *clockReader) RoundTrip(request *http.Request) (*http.Response, error) {
	r.clock.once.Do(func() { close(r.clock.reached) })
	response, err := r.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		r.clock.ahead.Store(int64(time.Until(date)))
		r.clock.known.Store(true)
	}
	return response, nil
}

// WrappedRoundTripper lets client-go find the transport below, to close its connections.
func (r *clockReader) WrappedRoundTripper() http.RoundTripper { return r.next }
