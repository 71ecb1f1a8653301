package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	maxBackoff = 10 * time.Second
	// maxRetryAfter is the longest pause that a registry may ask for. More is not a hiccup, and a pipeline should say so.
	maxRetryAfter = 2 * time.Minute
)

// pacer holds requests back after the registry answered 429 or 5xx, or dropped a connection: all of them, since a registry
// counts requests by client and not by blob. It repeats nothing; who made the request does.
type pacer struct {
	inner http.RoundTripper
	host  string
	first time.Duration // the pause after the first failure; it doubles with each further one

	mu       sync.Mutex
	failures int
	until    time.Time
	reason   string
	tooLong  *tooLongError
}

// tooLongError ends the attempts.
type tooLongError struct {
	reason string
	pause  time.Duration
}

func (e *tooLongError) Error() string {
	return fmt.Sprintf("the registry answers %s and asks to come back in %s", e.reason, report.Span(e.pause))
}

// RoundTrip implements http.RoundTripper.
func (p *pacer) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := p.wait(req.Context()); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	if body, ok := req.Body.(repeatable); ok {
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body.content))
	}
	resp, err := p.inner.RoundTrip(req)
	p.note(resp, err)
	return resp, err
}

// repeatable is a request's body that each attempt sends from its start. That of other requests is sent in one attempt.
type repeatable struct {
	io.ReadCloser
	content []byte
}

func (p *pacer) wait(ctx context.Context) error {
	p.mu.Lock()
	tooLong, pause, reason := p.tooLong, time.Until(p.until), p.reason
	p.mu.Unlock()
	if tooLong != nil {
		return tooLong
	}
	if pause <= 0 {
		return nil
	}
	report.Waitf(ctx, p.host, "it answered %s: trying again in %s", reason, report.Span(pause.Round(100*time.Millisecond)))
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s, which answered %s: %w", p.host, reason, context.Cause(ctx))
	}
}

// note looks at an answer and decides when the next request may go out.
func (p *pacer) note(resp *http.Response, err error) {
	var reason string
	var asked time.Duration
	switch {
	case err != nil && dropped(err):
		reason = "nothing and hung up"
	case err != nil:
		return
	case slices.Contains(passingCodes, resp.StatusCode):
		reason = resp.Status
		asked = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if reason == "" {
		p.failures = 0
		return
	}
	p.reason = reason
	if asked > maxRetryAfter {
		p.tooLong = &tooLongError{reason, asked}
		return
	}
	pause := min(p.first<<min(p.failures, 10), maxBackoff)
	// Requests that were under way together fail together, and count once.
	if time.Now().After(p.until) {
		p.failures++
	}
	pause += rand.N(pause/4 + 1) // so that clients that failed together do not come back together
	if until := time.Now().Add(max(pause, asked)); until.After(p.until) {
		p.until = until
	}
}

// retryAfter reads the header of that name: seconds, or a date. Anything else is no wish.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// dropped reports whether a connection broke while it was in use.
func dropped(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
