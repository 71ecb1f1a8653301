// Package flight lets callers who want the same result at the same time share the work.
package flight

import (
	"context"
	"sync"
)

// Group shares work among callers. The work for a key goes on as long as one caller waits, and is canceled when none does.
// The zero value is ready to use.
type Group[T any] struct {
	mu    sync.Mutex
	now   map[string]*flight[T]
	known sync.Map // results that Once found
}

type flight[T any] struct {
	waiting int
	cancel  context.CancelCauseFunc
	done    chan struct{}
	value   T
	err     error
}

// Once is Do for results that do not change: one that was found is not worked out again.
func (s *Group[T]) Once(ctx, base context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	if v, ok := s.known.Load(key); ok {
		return v.(T), nil
	}
	return s.Do(ctx, base, key, func(ctx context.Context) (T, error) {
		v, err := f(ctx)
		if err == nil {
			s.known.Store(key, v)
		}
		return v, err
	})
}

// Do returns what f does for key. Its context is canceled with base, and has the first caller's values.
func (s *Group[T]) Do(ctx, base context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	var zero T
	if err := context.Cause(ctx); err != nil {
		return zero, err
	}
	s.mu.Lock()
	if s.now == nil {
		s.now = map[string]*flight[T]{}
	}
	fl := s.now[key]
	if fl == nil {
		work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		stop := context.AfterFunc(base, func() { cancel(context.Cause(base)) })
		fl = &flight[T]{cancel: cancel, done: make(chan struct{})}
		s.now[key] = fl
		go func() {
			defer stop()
			defer cancel(nil)
			fl.value, fl.err = f(work)
			s.mu.Lock()
			if s.now[key] == fl {
				delete(s.now, key)
			}
			s.mu.Unlock()
			close(fl.done)
		}()
	}
	fl.waiting++
	s.mu.Unlock()

	select {
	case <-fl.done:
		return fl.value, fl.err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if fl.waiting--; fl.waiting == 0 {
			fl.cancel(context.Cause(ctx))
			if s.now[key] == fl {
				delete(s.now, key) // whoever comes now starts anew
			}
		}
		return zero, context.Cause(ctx)
	}
}
