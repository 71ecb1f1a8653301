package localplatform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/tool"
)

// program is the platform's own program. `make aksflow` builds it beside aksflow.
const program = "aksflow-platform"

// undoTime is how long the program may take to remove what it has started, after the caller has given up. It is longer
// than the time that the program itself allows for that.
const undoTime = time.Minute

// The verbs of the program.
const (
	UpVerb   = "up"
	DownVerb = "down"
)

// Message is one line of JSON that the program prints: an event while it works, and a result or an error at the end.
type Message struct {
	Event *Event `json:"event,omitempty"`
	Info  *Info  `json:"info,omitempty"`
	Error string `json:"error,omitempty"`
	Usage bool   `json:"usage,omitempty"` // Error is wrong usage; see package fault
}

// Event is the part of a [report.Event] that the program uses.
type Event struct {
	Kind    report.Kind  `json:"kind"`
	State   report.State `json:"state,omitempty"`
	Object  string       `json:"object,omitempty"`
	Message string       `json:"message"`
}

// Up starts the platform, or finds that it runs already with all that is asked for, and returns when every part answers.
// Argo CD and Flux join a platform that runs. One that lacks another part is started anew with it, as is one that a crash
// has stopped. The cluster is a new one each time; what the registry and the git server hold stays.
//
// Cancelling ctx stops what Up has started. The platform outlives the caller once Up has returned.
func Up(ctx context.Context, o Options) (*Info, error) {
	return call(ctx, UpVerb, o)
}

// Down ends the platform and removes what it left on the machine, also after a crash. The files in the state directory
// stay, for a quicker next start. Down does nothing where no platform has ever run.
func Down(ctx context.Context, dir string) error {
	s, err := OpenState(dir)
	if err != nil {
		return fault.Usage(err)
	}
	if _, err := os.Stat(s.LockFile()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err = call(ctx, DownVerb, Options{State: dir})
	return err
}

// call runs a verb of the program, replays its events and returns its result.
func call(ctx context.Context, verb string, o Options) (*Info, error) {
	if runtime.GOOS != "linux" {
		return nil, fault.Usagef("the local platform runs Linux containers without a virtual machine: it needs Linux")
	}
	path, err := tool.Find(program, "")
	if err != nil {
		return nil, fault.Usage(err)
	}
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, verb)
	// The program reads its options, and stops when its standard input is closed: also when this process is killed.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = undoTime
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	_, writeErr := stdin.Write(options) // a program that has ended already says why itself
	last, readErr := replay(ctx, stdout)
	_, _ = io.Copy(io.Discard, stdout) // so that a program that goes on writing is not stuck
	waitErr := cmd.Wait()
	switch {
	case last.Error != "":
		err := error(&programError{message: last.Error, cause: ctx.Err()})
		if last.Usage {
			err = fault.Usage(err)
		}
		return nil, err
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s %s: %w", program, verb, ctx.Err())
	}
	if err := errors.Join(writeErr, readErr, waitErr); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", path, verb, err, strings.TrimSpace(stderr.String()))
	}
	return last.Info, nil
}

// replay reports the events that the program prints, and returns the message that ends them.
func replay(ctx context.Context, stdout io.Reader) (Message, error) {
	for messages := json.NewDecoder(stdout); ; {
		var m Message
		if err := messages.Decode(&m); err != nil {
			return m, fmt.Errorf("it ended without a result: %w", err)
		}
		if m.Event == nil {
			return m, nil
		}
		report.Emit(ctx, report.Event{Kind: m.Event.Kind, State: m.Event.State, Object: m.Event.Object, Message: m.Event.Message})
	}
}

// programError is an error of the program, with the reason why it was told to stop, if it was.
type programError struct {
	message string
	cause   error
}

func (e *programError) Error() string { return e.message }
func (e *programError) Unwrap() error { return e.cause }
