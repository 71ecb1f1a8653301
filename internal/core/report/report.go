// Package report carries the events of a run to its readers, as one stream.
//
// Packages call [Start], [Info] or [Warn] with their context, and never print. The command puts a [Sink] into the context
// with [With]. Without one, events go nowhere, so packages are silent in tests and as libraries.
package report

import (
	"context"
	"fmt"
	"time"
)

// Kind is what an Event is about.
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
	// Warning is a sentence about something that the reader should mend, now or later.
	Warning
	// Fault is one of the causes of the error that follows, such as a failed test. Sinks can point at its file and line.
	Fault
	// Observation is something that was seen from outside, such as what a cluster says of a pod. It is for what is written
	// after the run: only verbose sinks show it.
	Observation
	// AppOutput is a line that the app writes where it runs. It is always shown, and not recorded: there is no end of it.
	AppOutput
	// Trouble is why something failed in a run that goes on. Message may have several lines, the most telling last.
	Trouble
)

// State is how far the object of a Progress event is.
type State int

// The states.
const (
	Running  State = iota // something is done about it
	Waiting               // the run waits for it
	Finished              // nothing more is to be done about it now
)

// Event is something that happened.
type Event struct {
	Time    time.Time
	Kind    Kind
	Step    string        // "build", "publish"; set by Start
	Object  string        // what it is about: "Deployment/vote", a layer's digest, a test's name; may be empty
	Message string        // one line, no trailing newline
	State   State         // Progress only
	Err     error         // StepFailed only
	Elapsed time.Duration // StepDone and StepFailed
	File    string        // a file that a reader can open, relative to the working directory; may be empty
	Line    int           // 1-based; 0 when unknown
	PartOf  string        // the object that Object is a part of, such as a pod's Deployment; may be empty
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

// Emit sends e to the context's sink. It fills in the time and the step where they are empty.
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

// Start opens a step. The returned function closes it: as done with its summary when err is nil, else as failed.
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

// Info emits a sentence for the reader.
func Info(ctx context.Context, format string, args ...any) {
	Emit(ctx, Event{Kind: Information, Message: fmt.Sprintf(format, args...)})
}

// Warn emits a sentence about something that the reader should mend.
func Warn(ctx context.Context, format string, args ...any) {
	Emit(ctx, Event{Kind: Warning, Message: fmt.Sprintf(format, args...)})
}

// Progressf emits how far object has come.
func Progressf(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Progress, Object: object, Message: fmt.Sprintf(format, args...)})
}

// Waitf is Progressf for something that the run waits for. The message says what is missing.
func Waitf(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Progress, State: Waiting, Object: object, Message: fmt.Sprintf(format, args...)})
}

// Donef is Progressf for something that is finished.
func Donef(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Progress, State: Finished, Object: object, Message: fmt.Sprintf(format, args...)})
}

// Logf emits one line of output of object.
func Logf(ctx context.Context, object, format string, args ...any) {
	Emit(ctx, Event{Kind: Log, Object: object, Message: fmt.Sprintf(format, args...)})
}
