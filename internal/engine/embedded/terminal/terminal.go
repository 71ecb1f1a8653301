// Package terminal attaches programs in containers to the terminal of this process.
package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"golang.org/x/term"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// errNone is what a program hears that asks for a terminal where there is none.
var errNone = errors.New("terminal: standard input is not a terminal; call it from a program that aksflow run starts in one")

// Terminal is the terminal of a process. One program at a time has it. Nil stands for none.
type Terminal struct {
	stdin *os.File
	kind  string
	turn  sync.Mutex

	mu   sync.Mutex
	held []func() // what is to be written when no program has the terminal anymore; nil when none has it
}

// New returns the terminal that standard input is; if it is none, Check and Attach say so. Programs learn its kind from the
// variable TERM; empty means xterm.
func New(stdin *os.File, kind string) *Terminal {
	return &Terminal{stdin: stdin, kind: cmp.Or(kind, "xterm")}
}

// ServiceArgs returns the arguments of a field asService that runs what a field terminal asks for. The preset is what
// withDefaultTerminalCmd was given; nil stands for a shell.
func ServiceArgs(asked, preset api.Args) map[string]any {
	args := map[string]any{"args": []any{"sh"}}
	for _, a := range []api.Args{preset, asked} {
		for _, command := range []string{"args", "cmd"} {
			if len(a.List(command)) > 0 {
				args["args"] = a[command]
			}
		}
		for _, flag := range []string{"experimentalPrivilegedNesting", "insecureRootCapabilities"} {
			args[flag] = args[flag] == true || a.Flag(flag)
		}
	}
	return args
}

// Writer returns a writer to out that keeps what it gets until no program has the terminal.
func (t *Terminal) Writer(out io.Writer) io.Writer { return &holding{t, out} }

type holding struct {
	t   *Terminal
	out io.Writer
}

func (h *holding) Write(p []byte) (int, error) {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	if h.t.held == nil {
		return h.out.Write(p)
	}
	text := append([]byte(nil), p...)
	h.t.held = append(h.t.held, func() { _, _ = h.out.Write(text) }) // as with any progress, its loss is no failure
	return len(p), nil
}

func (t *Terminal) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = []func(){}
}

func (t *Terminal) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, write := range t.held {
		write()
	}
	t.held = nil
}

// Check returns an error if there is no terminal.
func (t *Terminal) Check() error {
	if t == nil || !term.IsTerminal(int(t.stdin.Fd())) {
		return errNone
	}
	return nil
}

// Attach starts a process that has the terminal until it ends: keys go to it as they are, Ctrl-C too, and it learns the
// terminal's size. Afterwards the terminal is as it was. How the process ends is the affair of who sits at the terminal: an
// exit code is printed, and is no error.
func (t *Terminal) Attach(ctx context.Context, r gateway.StartRequest, start func(context.Context, gateway.StartRequest) (gateway.ContainerProcess, error)) error {
	if err := t.Check(); err != nil {
		return err
	}
	t.turn.Lock()
	defer t.turn.Unlock()
	// A description of its own can be read without blocking, so that no read stays behind that takes a key from whoever
	// has the terminal next.
	fd, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", t.stdin.Fd()), syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	tty := os.NewFile(uintptr(fd), "terminal")
	defer tty.Close()
	before, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	t.hold()
	defer t.release()
	defer term.Restore(fd, before) //nolint:errcheck // it worked a moment ago
	if !slices.ContainsFunc(r.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		r.Env = append(slices.Clone(r.Env), "TERM="+t.kind)
	}
	r.Tty, r.Stdin, r.Stdout = true, keep{tty}, keep{tty}
	process, err := start(ctx, r)
	if err != nil {
		return err
	}
	stop := follow(ctx, fd, process)
	err = process.Wait()
	stop()
	if err := tty.SetReadDeadline(time.Now()); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	var exit *gatewaypb.ExitError
	if ctx.Err() == nil && errors.As(err, &exit) {
		fmt.Fprintf(tty, "exit %d\r\n", exit.ExitCode)
		return nil
	}
	return err
}

// follow tells a process the terminal's size, now and whenever it changes, until the function that it returns is called.
func follow(ctx context.Context, fd int, process gateway.ContainerProcess) (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	changed <- syscall.SIGWINCH
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range changed {
			if width, height, err := term.GetSize(fd); err == nil {
				_ = process.Resize(ctx, gateway.WinSize{Rows: uint32(height), Cols: uint32(width)}) // it may have ended
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
		<-ended
	}
}

// keep is the terminal, which a process that ends does not close.
type keep struct{ *os.File }

func (keep) Close() error { return nil }
