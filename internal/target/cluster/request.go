package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// attempt is how long one request may take. A connection that was cut without a word is noticed after that.
	attempt = 15 * time.Second
	// passing is how long the API server may say that it cannot answer.
	passing = 30 * time.Second
	// patience is how long the API server may be away before a deploy gives up on it.
	patience = 3 * time.Minute
	// parallel is how many requests are under way at once.
	parallel = 24
)

// connection remembers that the API server went away, so that it is said once and not for every request under way.
type connection struct {
	mu    sync.Mutex
	lost  time.Time // zero: it is there
	found time.Time // when it came back last
}

func (c *connection) noteLost(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.IsZero() {
		c.lost = time.Now()
		report.Warn(ctx, "the API server does not answer (%v): trying again for up to %s", rootCause(err), patience)
	}
}

func (c *connection) noteAnswer(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lost.IsZero() {
		report.Info(ctx, "the API server answers again after %s", time.Since(c.lost).Round(time.Second))
		c.lost, c.found = time.Time{}, time.Now()
	}
}

// away is how long the API server has been out of reach.
func (c *connection) away() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost.IsZero() {
		return 0
	}
	return time.Since(c.lost)
}

// backSince says that the API server was away and came back after t.
func (c *connection) backSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost.IsZero() && c.found.After(t)
}

// justBack says that the API server may have been restarted a moment ago. It then refuses what its authorizer has not
// read yet, and does not know what its CustomResourceDefinitions define.
func (c *connection) justBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.found) < 10*time.Second
}

// request runs do, which must be safe to repeat, until the API server has given an answer that is one.
func (c *Cluster) request(ctx context.Context, do func(context.Context) error) error {
	began := time.Now()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		once, cancel := context.WithTimeout(ctx, attempt)
		err := do(once)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isConnection(err) {
			c.connection.noteLost(ctx, err)
		} else {
			c.connection.noteAnswer(ctx)
			early := (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && c.connection.justBack()
			if passes := isPassing(err) && time.Since(began) < passing; !passes && !early {
				return err
			}
		}
		if time.Since(began) > patience {
			return fmt.Errorf("%w: %w", c.gone(), rootCause(err))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// gone is the error of an API server that did not come back.
func (c *Cluster) gone() error {
	return fmt.Errorf("the API server %s was out of reach for %s", c.host, patience)
}

// resource is the client for objects of a kind in a namespace.
func (c *Cluster) resource(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapping(ctx, gvk)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// mapping finds the resource of a kind. An empty version means the one that the server prefers.
func (c *Cluster) mapping(ctx context.Context, gvk schema.GroupVersionKind) (mapping *meta.RESTMapping, err error) {
	var versions []string
	if gvk.Version != "" {
		versions = []string{gvk.Version}
	}
	err = c.request(ctx, func(ctx context.Context) error {
		mapping, err = c.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), versions...)
		return err
	})
	if meta.IsNoMatchError(err) {
		return nil, unknownKind(&meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}})
	}
	if err != nil {
		return nil, fmt.Errorf("asking the API server which kinds it knows: %w", err)
	}
	return mapping, nil
}

// scope tells plan.Normalize which kinds live in a namespace.
func (c *Cluster) scope(ctx context.Context) func(schema.GroupVersionKind) (bool, error) {
	return func(gvk schema.GroupVersionKind) (bool, error) {
		mapping, err := c.mapping(ctx, gvk)
		if err != nil {
			return false, err
		}
		return mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
	}
}
