// Package report carries what a run has to say from the code that knows it to whoever reads it, as one stream of events.
//
// Code that works calls [Start], [Info] or [Warn] with its context and never prints. The command puts a [Sink] into
// the context with [With]; without one, events go nowhere, so packages stay silent under test and as libraries.
package report

import (
	"context"
	"fmt"
	"time"
)

// Kind says what an Event is about.
type Kind int

const (
	// StepStarted opens a step: build, test, publish, …
	StepStarted Kind = iota
	// StepDone closes a step that succeeded. Message sums it up in a few words.
	StepDone
	// StepFailed closes a step that failed. Err is set.
	StepFailed
	// Progress replaces the previous Progress of the same Step and Object on a terminal; plain sinks print it when it
	// differs from the last.
	Progress
	// Log is a line of output of something that runs inside the step (a build command, a container).
	Log
	// Info is a sentence for the reader.
	Information
	// Warning is a sentence for the reader that wants an answer, now or later.
	Warning
	// Fault is one of the things that an error to come sums up, such as a test that failed: for sinks that can point at it.
	Fault
)

// Event is one thing that happened.
type Event struct {
	Time    time.Time
	Kind    Kind
	Step    string        // "build", "publish"; set by Start
	Object  string        // what it is about: "Deployment/vote", a layer's digest, a test's name; may be empty
	Message string        // one line, no trailing newline
	Err     error         // StepFailed only
	Elapsed time.Duration // StepDone and StepFailed
	File    string        // a file that a reader can open, relative to the working directory; may be empty
	Line    int           // 1-based; 0 when unknown
}

// Sink receives events. It is called from many goroutines at once.
type Sink interface{ Event(Event) }

// SinkFunc adapts a function to Sink.
type SinkFunc func(Event)

// Event implements Sink.
func (f SinkFunc) Event(e Event) { f(e) }

type sinkKey struct{}
type stepKey struct{}

// With returns a context whose events go to s.
func With(ctx context.Context, s Sink) context.Context { return context.WithValue(ctx, sinkKey{}, s) }

// Emit sends e as it is, with the time and the context's step filled in where they are empty.
func Emit(ctx context.Context, e Event) {
	s, ok := ctx.Value(sinkKey{}).(Sink)
	if !ok {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Step == "" {
		e.Step, _ = ctx.Value(stepKey{}).(string)
	}
	s.Event(e)
}

// Start opens a step. The returned function closes it: with a nil error as done, its summary beside it, else as failed.
func Start(ctx context.Context, step string) (context.Context, func(summary string, err error)) {
	ctx = context.WithValue(ctx, stepKey{}, step)
	began := time.Now()
	Emit(ctx, Event{Kind: StepStarted, Time: began})
	return ctx, func(summary string, err error) {
		e := Event{Kind: StepDone, Message: summary, Elapsed: time.Since(began)}
		if err != nil {
			e.Kind, e.Err = StepFailed, err
		}
		Emit(ctx, e)
	}
}

// Info tells the reader something.
func Info(ctx context.Context, format string, args ...any) {
	Emit(ctx, Event{Kind: Information, Message: fmt.Sprintf(format, args...)})
}

// Warn tells the reader something that wants an answer.
func Warn(ctx context.Context, format string, args ...any) {
	Emit(ctx, Event{Kind: Warning, Message: fmt.Sprintf(format, args...)})
}

// Progressf says how far object has come.
func Progressf(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Progress, Object: object, Message: fmt.Sprintf(format, args...)})
}

// Logf passes on one line of output of object.
func Logf(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Log, Object: object, Message: fmt.Sprintf(format, args...)})
}
