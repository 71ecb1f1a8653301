package dev

import (
	"context"
	"errors"
	"time"
)

// Work is what a Loop does.
type Work interface {
	// Prepare does for the newest state of the files what changes nothing that runs, such as a build and tests. It returns
	// the rest, which brings that state to where it runs; nil if there is nothing to bring. A newer save ends its context.
	Prepare(context.Context, Save) (bring func(context.Context) error, err error)
	// Failed is told the error of a Prepare, or of what it returned. It is not told of what a newer save ended.
	Failed(error)
}

// ErrNewer is why the context of a Prepare ends when there is a newer save.
var ErrNewer = errors.New("there is a newer save")

// Loop prepares and brings the present state of the files, and again the newest after each save, until ctx ends. A save ends a
// preparation, and it starts anew. What is being brought is brought to its end: the next preparation goes on beside it, and
// there are never two that bring. It returns when both have ended.
func Loop(ctx context.Context, saves <-chan Save, w Work) {
	l := &loop{ctx: ctx, work: w, pending: &Save{Began: time.Now(), First: true}}
	for ctx.Err() == nil {
		l.start()
		select {
		case <-ctx.Done():
		case save, ok := <-saves:
			if !ok {
				saves = nil
				continue
			}
			l.save(save)
		case p := <-l.preparing:
			l.preparing = nil
			l.end()
			switch {
			case p.err != nil && l.pending == nil && ctx.Err() == nil:
				w.Failed(p.err)
			case p.err == nil && p.bring != nil:
				l.ready = p.bring
			}
		case err := <-l.bringing:
			l.bringing = nil
			if err != nil && ctx.Err() == nil {
				w.Failed(err)
			}
		}
	}
	if l.preparing != nil {
		<-l.preparing
		l.end()
	}
	if l.bringing != nil {
		<-l.bringing
	}
}

type loop struct {
	ctx  context.Context
	work Work

	pending   *Save         // is to be prepared
	preparing chan prepared // nil while nothing is
	now       Save          // is being prepared
	cancel    context.CancelCauseFunc
	ready     func(context.Context) error // is to be brought
	bringing  chan error                  // nil while nothing is
}

type prepared struct {
	bring func(context.Context) error
	err   error
}

// save takes note of a save.
func (l *loop) save(s Save) {
	if l.preparing != nil {
		l.cancel(ErrNewer)
		s = l.now.join(s)
	}
	if l.pending != nil {
		s = l.pending.join(s)
	}
	l.pending = &s
}

// start starts what is due and may start.
func (l *loop) start() {
	if l.pending != nil && l.preparing == nil {
		ctx, cancel := context.WithCancelCause(l.ctx)
		done := make(chan prepared, 1)
		l.now, l.pending, l.preparing, l.cancel = *l.pending, nil, done, cancel
		save := l.now
		go func() {
			bring, err := l.work.Prepare(ctx, save)
			done <- prepared{bring, err}
		}()
	}
	if l.ready != nil && l.preparing == nil && l.bringing == nil {
		bring, done := l.ready, make(chan error, 1)
		l.ready, l.bringing = nil, done
		go func() { done <- bring(l.ctx) }()
	}
}

// end releases the context of a preparation that has ended.
func (l *loop) end() { l.cancel(nil) }
