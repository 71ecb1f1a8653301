// Package fault tells the errors that a user can mend by calling differently from all others, and maps errors to the
// exit codes of the command.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// usage is an error that the user can mend by calling the command differently or by editing a configuration.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// Usage marks err as wrong usage or configuration: exit code 2. A nil error stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usage{err}
}

// Usagef is Usage(fmt.Errorf(…)).
func Usagef(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// The command's exit codes.
const (
	ExitDone        = 0
	ExitNo          = 1   // the pipeline said no: a test failed, a rollout failed, nothing matched
	ExitUsage       = 2   // wrong usage or configuration
	ExitInterrupted = 130 // the user pressed Ctrl-C: 128 + SIGINT, the convention of shells
)

// ExitCode maps an error to the command's exit code.
func ExitCode(err error) int {
	var u usage
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &u):
		return ExitUsage
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	default:
		return ExitNo
	}
}
