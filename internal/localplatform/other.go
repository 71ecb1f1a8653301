//go:build !linux

package localplatform

import (
	"context"

	"github.com/aksflow/aksflow/internal/core/fault"
)

var errLinux = fault.Usagef("the local platform runs Linux containers without a virtual machine: it needs Linux")

// Main does nothing: the platform has processes on Linux only.
func Main() {}

// Up starts the platform, on Linux.
func Up(context.Context, Options) (*Info, error) { return nil, errLinux }

// Down ends the platform, on Linux.
func Down(context.Context, string) error { return errLinux }

// Load returns the platform that runs in a state directory, on Linux.
func Load(string) (*Info, error) { return nil, errLinux }

// Seed commits a directory's files to a repository of the platform, on Linux.
func (i *Info) Seed(context.Context, string, string, string) (string, error) { return "", errLinux }
