//go:build linux

// Command aksflow-platform is the local platform. The command aksflow starts it for `aksflow up` and `aksflow down`; it
// is a program of its own so that the aksflow command that CI runs does not hold the platform.
//
// It reads its options from standard input, as package localplatform writes them, and stops when its standard input is
// closed. It prints [localplatform.Message] documents, one a line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/server"
)

func main() {
	server.Main() // returns, unless this is one of the platform's own processes
	if len(os.Args) != 2 || (os.Args[1] != localplatform.UpVerb && os.Args[1] != localplatform.DownVerb) {
		fmt.Fprintln(os.Stderr, "aksflow-platform is started by `aksflow up` and `aksflow down`: run those")
		os.Exit(fault.ExitUsage)
	}
	os.Exit(run(os.Args[1]))
}

func run(verb string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var o localplatform.Options
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "aksflow-platform: reading the options:", err)
		return fault.ExitUsage
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the caller closes it, or has ended itself
		cancel()
	}()

	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	send := func(m localplatform.Message) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(m) // a caller that no longer reads has closed standard input, too
	}
	ctx = report.With(ctx, report.SinkFunc(func(e report.Event) {
		send(localplatform.Message{Event: &localplatform.Event{Kind: e.Kind, State: e.State, Object: e.Object, Message: e.Message}})
	}))
	info, err := call(ctx, verb, o)
	if err != nil {
		code := fault.ExitCode(err)
		send(localplatform.Message{Error: err.Error(), Usage: code == fault.ExitUsage})
		return code
	}
	send(localplatform.Message{Info: info})
	return fault.ExitDone
}

func call(ctx context.Context, verb string, o localplatform.Options) (*localplatform.Info, error) {
	if verb == localplatform.DownVerb {
		return nil, server.Down(ctx, o.State)
	}
	return server.Up(ctx, o)
}
