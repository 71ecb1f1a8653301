// Package failure turns the errors of BuildKit into those that a user can read.
package failure

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"

	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// ExecError is a command that ended with an exit code that was not expected.
type ExecError struct {
	Cmd            []string
	ExitCode       int
	Stdout, Stderr string
	// Place is what ran it, where the command line alone does not say: a Dockerfile's step, a service.
	Place string
}

// What of an output stands in an error itself.
const (
	shownLines = 40  // of a failed step
	shownLine  = 500 // bytes of a line
)

// Error says what failed; of a Dockerfile's step, whose output nobody asks for, it shows the end.
func (e *ExecError) Error() string {
	message := fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Cmd, " "), e.ExitCode)
	if e.Place == "" {
		return message
	}
	message = e.Place + ": " + message
	output := strings.TrimSpace(e.Stdout + e.Stderr)
	if output == "" {
		return message + "; it printed nothing"
	}
	return message + "\n" + LastLines(output)
}

// LastLines returns the end of an output.
func LastLines(output string) string {
	lines := strings.Split(output, "\n")
	if skipped := len(lines) - shownLines; skipped > 0 {
		lines = append([]string{fmt.Sprintf("… %d lines before these …", skipped)}, lines[skipped:]...)
	}
	for i, line := range lines {
		if len(line) > shownLine {
			lines[i] = strings.ToValidUTF8(line[:shownLine], "") + "…"
		}
	}
	return strings.Join(lines, "\n")
}

// UserCommand takes the shim off a command line.
func UserCommand(args []string) ([]string, bool) {
	if len(args) == 0 || args[0] != contract.Shim {
		return nil, false
	}
	for i, a := range args {
		if a == "--" {
			return args[i+1:], true
		}
	}
	return nil, false
}

// Place is the line of the Dockerfile that an error is about: "Dockerfile:3".
func Place(err error) string {
	for _, s := range errdefs.Sources(err) {
		if s.Info != nil && len(s.Ranges) > 0 && s.Ranges[0].GetStart() != nil {
			return fmt.Sprintf("%s:%d", s.Info.Filename, s.Ranges[0].Start.Line)
		}
	}
	return ""
}

// noise is what BuildKit's layers say about themselves in an error, and the shim before a command line.
var noise = regexp.MustCompile(`failed to run Build function: |failed to solve: |rpc error: code = \w+ desc = |` +
	`failed to (load|compute) cache key: |failed to calculate checksum of ref \S+ |` +
	regexp.QuoteMeta(contract.Shim) + ` (?s:.*?) -- `)

// Plain drops the noise from an error, and adds where in a Dockerfile it comes from.
func Plain(err error) error {
	message := noise.ReplaceAllString(err.Error(), "")
	if at := Place(err); at != "" && !strings.HasPrefix(message, at) {
		message = at + ": " + message
	}
	if message == err.Error() {
		return err
	}
	return &wrapped{message, err}
}

type wrapped struct {
	message string
	error
}

func (w *wrapped) Error() string { return w.message }
func (w *wrapped) Unwrap() error { return w.error }
