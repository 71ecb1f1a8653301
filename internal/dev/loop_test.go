package dev

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// script is a Work whose steps a test lets begin and end one by one. It fails the test when two things are brought at once.
type script struct {
	t        *testing.T
	prepares chan *scripted
	brings   chan *scripted
	failures chan error
}

// scripted is a call that waits for its end.
type scripted struct {
	save Save
	ctx  context.Context
	end  chan error // nil ends it well
}

var errNothing = errors.New("nothing to bring")

func newScript(t *testing.T) *script {
	return &script{t: t, prepares: make(chan *scripted), brings: make(chan *scripted), failures: make(chan error, 10)}
}

func (s *script) wait(ctx context.Context, to chan *scripted, save Save) error {
	c := &scripted{save: save, ctx: ctx, end: make(chan error)}
	to <- c
	return <-c.end
}

func (s *script) Prepare(ctx context.Context, save Save) (func(context.Context) error, error) {
	err := s.wait(ctx, s.prepares, save)
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	return func(ctx context.Context) error { return s.wait(ctx, s.brings, save) }, err
}

func (s *script) Failed(err error) { s.failures <- err }

func take[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("waited in vain for: " + what)
		panic("unreachable")
	}
}

// looping runs a Loop for a test.
func looping(t *testing.T) (s *script, save func(...string), end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	saves := make(chan Save)
	s, done := newScript(t), make(chan struct{})
	go func() {
		defer close(done)
		Loop(ctx, saves, s)
	}()
	end = func() {
		cancel()
		take(t, done, "the end of the loop")
	}
	return s, func(files ...string) { saves <- Save{Began: time.Unix(1, 0), Files: files} }, end
}

func TestLoopRunsAtOnceAndAtEachSave(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	first := take(t, s.prepares, "the first preparation")
	assert.Nil(t, first.save.Files, "anything may have changed")
	assert.True(t, first.save.First)
	first.end <- nil
	take(t, s.brings, "the first version").end <- nil
	save("a")
	second := take(t, s.prepares, "a preparation")
	assert.Equal(t, []string{"a"}, second.save.Files)
	assert.False(t, second.save.First)
	second.end <- nil
	take(t, s.brings, "the second version").end <- nil
	save("b")
	third := take(t, s.prepares, "a preparation")
	assert.Equal(t, []string{"b"}, third.save.Files, "what was dealt with is not dealt with again")
	third.end <- nil
	brought := take(t, s.brings, "the third version")
	assert.Equal(t, []string{"b"}, brought.save.Files)
	brought.end <- nil
	end()
	assert.Empty(t, s.failures)
}

// A save ends a preparation, and the next one deals with both.
func TestLoopStartsAnew(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	take(t, s.prepares, "the first preparation").end <- nil
	take(t, s.brings, "the first version").end <- nil
	save("a")
	overtaken := take(t, s.prepares, "a preparation")
	save("b")
	take(t, overtaken.ctx.Done(), "the end of a preparation")
	assert.ErrorIs(t, context.Cause(overtaken.ctx), ErrNewer)
	save("c")
	overtaken.end <- context.Cause(overtaken.ctx)
	newest := take(t, s.prepares, "another preparation")
	assert.Equal(t, []string{"a", "b", "c"}, newest.save.Files)
	newest.end <- nil
	take(t, s.brings, "the newest version").end <- nil
	end()
	assert.Empty(t, s.failures, "what a newer save ended is no failure")
}

// While something is brought, the next is prepared and waits. Of several that wait, only the newest is brought.
func TestLoopBringsOneAtATime(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	take(t, s.prepares, "a preparation").end <- nil
	first := take(t, s.brings, "the first version")
	for _, name := range []string{"a", "b"} {
		save(name)
		take(t, s.prepares, "a preparation beside it").end <- nil
	}
	save("no part of the app")
	take(t, s.prepares, "a preparation beside it").end <- errNothing
	assert.NoError(t, first.ctx.Err(), "what is being brought is not ended")
	select {
	case <-s.brings:
		t.Fatal("two at once")
	default:
	}
	first.end <- nil
	second := take(t, s.brings, "the newest version")
	assert.Contains(t, second.save.Files, "b")
	second.end <- nil
	end()
	assert.Empty(t, s.brings)
}

// Failures are told, and the next save tries again.
func TestLoopGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	broken := errors.New("does not build")
	take(t, s.prepares, "a preparation").end <- broken
	assert.Equal(t, broken, take(t, s.failures, "a failure"))
	save("a")
	take(t, s.prepares, "a preparation").end <- nil
	red := errors.New("does not start")
	take(t, s.brings, "a version").end <- red
	assert.Equal(t, red, take(t, s.failures, "a failure"))
	save("b")
	take(t, s.prepares, "a preparation").end <- nil
	take(t, s.brings, "a version").end <- nil
	end()
	assert.Empty(t, s.failures)
}

// A version that waits is brought also when the one after it does not build.
func TestLoopBringsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	take(t, s.prepares, "a preparation").end <- nil
	first := take(t, s.brings, "the first version")
	save("good")
	take(t, s.prepares, "a preparation").end <- nil
	save("bad")
	bad := take(t, s.prepares, "a preparation")
	first.end <- nil
	bad.end <- errors.New("does not build")
	take(t, s.failures, "a failure")
	good := take(t, s.brings, "the good version")
	assert.Contains(t, good.save.Files, "good")
	assert.NotContains(t, good.save.Files, "bad")
	good.end <- nil
	end()
}

// The loop returns when what it began has ended.
func TestLoopEnds(t *testing.T) {
	t.Parallel()
	s, save, end := looping(t)
	take(t, s.prepares, "a preparation").end <- nil
	brought := take(t, s.brings, "a version")
	save("a")
	prepared := take(t, s.prepares, "a preparation")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end()
	}()
	take(t, brought.ctx.Done(), "the end of what is brought")
	take(t, prepared.ctx.Done(), "the end of what is prepared")
	brought.end <- context.Canceled
	select {
	case <-ended:
		t.Error("a preparation was left behind")
	default:
	}
	prepared.end <- context.Canceled
	take(t, ended, "the end")
	assert.Empty(t, s.failures)
}
