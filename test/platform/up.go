package platform

import (
	"context"
	"errors"
)

// Main runs one of the platform's own processes and does not return, when the program was started again as that; else it
// returns at once. Call it first thing in main or TestMain of a program that calls [Up].
func Main() {}

// Up starts the platform, or finds that it runs already with all that is asked for, and returns when every part answers.
// A platform that lacks a part, or that a crash has stopped, is started anew. The cluster is a new one each time; what
// the registry and the git server hold stays.
//
// Cancelling ctx stops what Up has started. The platform outlives the caller once Up has returned.
func Up(ctx context.Context, o Options) (*Info, error) { return nil, errors.ErrUnsupported }

// Down ends the platform and removes what it left on the machine, also after a crash. The files in state stay, for a
// quicker next start. Nothing running is no error.
func Down(ctx context.Context, state string) error { return errors.ErrUnsupported }

// Load returns the platform that runs in state. When none does, the error says so, and why if it crashed.
func Load(state string) (*Info, error) { return nil, errors.ErrUnsupported }

// Seed makes the bare repository name unless it is there, and commits the files of the directory dir as the first
// commit of branch. A branch that exists stays as it is. It returns the branch's commit.
func (i *Info) Seed(ctx context.Context, name, branch, dir string) (commit string, err error) {
	return "", errors.ErrUnsupported
}
