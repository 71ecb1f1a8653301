package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/engine/embedded/terminal"
)

func runCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "run COMMAND [ARGUMENT…]",
		Short: "Run a program that uses a Dagger SDK, on the engine",
		Long: `run starts a program that connects to Dagger with one of its SDKs (Go, Python, TypeScript), and gives it a session on the
engine: the embedded one needs neither Docker nor an engine image. The program has this terminal, its exit code is
aksflow's, and signals reach it. A container's terminal (the field of that name) is this one, too. The engine's progress goes to
stderr; --verbose adds what its containers print.

What follows COMMAND is its own.`,
		Example: `  aksflow run go run ./ci
  aksflow run --verbose python pipeline.py`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Usagef("run: name the command to run\nSee %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			g.started = true
			if g.output != "text" {
				return fault.Usagef("run: stdout is the program's own: --output %s has no place there", g.output)
			}
			return g.runProgram(cmd.Context(), args)
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

// programEnded is the exit code, not 0, of the program that run started. The program has said why.
type programEnded struct{ code int }

func (p programEnded) Error() string {
	return fmt.Sprintf("the program ended with exit code %d", p.code)
}

// programGrace is how long the program may take to end after --timeout is over, before it is killed.
const programGrace = 10 * time.Second

// runProgram starts a program with a session on the engine, and returns when it has ended and the session is closed.
func (g *globals) runProgram(ctx context.Context, args []string) (err error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fault.Usagef("run: %w", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer close(signals)
	defer signal.Stop(signals)

	// The program decides what a signal means, and may need its session to clean up. So a signal ends the session only
	// as long as there is no program.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	started := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	// The program's own lines come between those of the progress, so none of these is drawn over.
	tty := terminal.New(os.Stdin, os.Getenv("TERM"))
	life = report.With(life, report.NewPlain(tty.Writer(g.stderr), g.verbose))
	session, err := engine.Connect(life, engine.Options{Engine: g.engine, State: g.state, Env: os.Environ(), Setenv: os.Setenv, Terminal: tty})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	server, err := session.Serve(life)
	if err != nil {
		return fmt.Errorf("run: listen for the program: %w", err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if !started() {
		return context.Cause(ctx)
	}
	return g.child(life, path, args, server.Env(os.Environ()), signals)
}

// child runs a program until it ends or --timeout is over, and passes signals on to it.
func (g *globals) child(ctx context.Context, path string, args, env []string, signals <-chan os.Signal) error {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, g.timeout, fmt.Errorf("run: --timeout %s is over: %w", report.Span(g.timeout), context.DeadlineExceeded))
		defer cancel()
	}
	child := exec.CommandContext(ctx, path)
	child.Args, child.Env = args, env
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, g.stdout, g.stderr
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = programGrace
	if err := child.Start(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	go func() {
		for s := range signals {
			if byKey := s == os.Interrupt || s == syscall.SIGQUIT; !byKey || !foreground() {
				_ = child.Process.Signal(s) // it may have ended
			}
		}
	}()
	err := child.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ended(err)
}

// ended returns how a program ended, with the exit code that a shell gives it: 128 + N after signal N.
func ended(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return programEnded{128 + int(status.Signal())}
	}
	return programEnded{exit.ExitCode()}
}
