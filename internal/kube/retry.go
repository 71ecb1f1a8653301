package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// OutageLimit is how long the API server may be out of reach before a request, or a watch, gives up.
	OutageLimit = 3 * time.Minute
	// Parallel is how many requests may run at once.
	Parallel = 24

	// requestTimeout bounds one try of a request. A connection that was cut without notice is found out after that.
	requestTimeout = 15 * time.Second
	// transientErrorLimit is how long the API server may answer that it cannot answer now.
	transientErrorLimit = 30 * time.Second
	// warmUp is how long an API server that came back may refuse requests because its authorizer and its custom resources
	// are not loaded yet.
	warmUp = 10 * time.Second
)

// outage remembers that the API server went away, so that it is reported once and not for each pending request.
type outage struct {
	mu    sync.Mutex
	since time.Time // zero while the server answers
	ended time.Time // when the last outage ended
}

func (o *outage) begin(ctx context.Context, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = time.Now()
		report.Warn(ctx, "the API server does not answer (%v): trying again for up to %s", rootCause(err), report.Span(OutageLimit))
	}
}

func (o *outage) end(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		report.Info(ctx, "the API server answers again after %s", report.Span(time.Since(o.since).Round(time.Second)))
		o.since, o.ended = time.Time{}, time.Now()
	}
}

// duration is how long the API server has been out of reach; 0 while it answers.
func (o *outage) duration() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return 0
	}
	return time.Since(o.since)
}

// endedAfter reports whether an outage ended after t, and none is going on.
func (o *outage) endedAfter(t time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since.IsZero() && o.ended.After(t)
}

// warmingUp reports whether the API server may have been restarted a moment ago.
func (o *outage) warmingUp() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.ended) < warmUp
}

// NoteLost records that a watch lost the API server, if err says so, and reports whether it does.
func (c *Cluster) NoteLost(ctx context.Context, err error) bool {
	if !isConnection(err) {
		return false
	}
	c.outage.begin(ctx, err)
	return true
}

// NoteAnswer records that the API server answered a watch.
func (c *Cluster) NoteAnswer(ctx context.Context) { c.outage.end(ctx) }

// WarmingUp reports whether the API server came back a moment ago. It may then refuse what it allows later.
func (c *Cluster) WarmingUp() bool { return c.outage.warmingUp() }

// BackSince reports whether the API server was away and came back after t.
func (c *Cluster) BackSince(t time.Time) bool { return c.outage.endedAfter(t) }

// Gone returns an error once the API server has been out of reach for [OutageLimit].
func (c *Cluster) Gone() error {
	if c.outage.duration() <= OutageLimit {
		return nil
	}
	return c.gone()
}

func (c *Cluster) gone() error {
	return fmt.Errorf("the API server %s was out of reach for %s", c.host, report.Span(OutageLimit))
}

// Retry calls do, which must be safe to repeat, until the API server answers with something other than a transient
// error. It is the only retry policy towards a cluster: a server that is out of reach gets [OutageLimit], one that
// answers that it is busy half a minute.
func (c *Cluster) Retry(ctx context.Context, do func(context.Context) error) error {
	began, refused := time.Now(), false
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		once, cancel := context.WithTimeout(ctx, requestTimeout)
		err := do(once)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case isConnection(err):
			c.outage.begin(ctx, err)
		case errors.Is(err, errLockStale):
		case errors.Is(err, ErrLockLost):
			return err
		default:
			c.outage.end(ctx)
			early := (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && c.outage.warmingUp()
			transient := isTransient(err) && time.Since(began) < transientErrorLimit
			// client-go asks for new credentials after a refusal, and returns the refusal all the same.
			renewed := apierrors.IsUnauthorized(err) && !refused
			refused = refused || renewed
			if !transient && !early && !renewed {
				return err
			}
		}
		if time.Since(began) > OutageLimit {
			return fmt.Errorf("%w: %w", c.gone(), rootCause(err))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// write is Retry for requests that change something. They are not sent unless the lock of ctx, if it has one, is held.
func (c *Cluster) write(ctx context.Context, do func(context.Context) error) error {
	return c.Retry(ctx, func(ctx context.Context) error {
		if err := checkLock(ctx); err != nil {
			return err
		}
		return do(ctx)
	})
}
