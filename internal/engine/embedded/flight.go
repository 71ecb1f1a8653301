package embedded

import (
	"context"
	"sync"
)

// flights lets callers who want the same thing at the same time share the work. The work goes on as long as one of them
// waits, and is canceled when none does.
type flights[T any] struct {
	mu    sync.Mutex
	now   map[string]*flight[T]
	known sync.Map // what once has found out
}

type flight[T any] struct {
	waiting int
	cancel  context.CancelCauseFunc
	done    chan struct{}
	value   T
	err     error
}

// once is do for what does not change: a value that was found is not worked out again.
func (s *flights[T]) once(ctx, base context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	if v, ok := s.known.Load(key); ok {
		return v.(T), nil
	}
	return s.do(ctx, base, key, func(ctx context.Context) (T, error) {
		v, err := f(ctx)
		if err == nil {
			s.known.Store(key, v)
		}
		return v, err
	})
}

// do returns what f does for key. Its context is canceled with base, and has the first caller's values.
func (s *flights[T]) do(ctx, base context.Context, key string, f func(context.Context) (T, error)) (T, error) {
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
