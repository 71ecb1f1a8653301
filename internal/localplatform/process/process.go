// Package process runs a server as a child process. The server's output goes to a file. When the server ends by itself,
// the error holds the end of that file.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Spec describes a server.
type Spec struct {
	Name string   // of the server and its log file
	Path string   // of the executable
	Args []string // without the executable's name
	Env  []string // added to the caller's environment; the later wins
	// Ready returns nil when the server answers. It is called again and again until then. Without it, a server is ready
	// once it is started.
	Ready func(context.Context) error
}

// Process is a started server.
type Process struct {
	Spec
	Log string // its output

	cmd  *exec.Cmd
	done chan struct{}
	exit error // valid after done
}

// tailLines is how much of a log goes into an error: enough for a stack of wrapped errors, and it still fits a screen.
const tailLines = 20

// stopGrace is how long a server may take to end after it was asked to, before it is killed.
const stopGrace = time.Second

// Start starts a server, which writes its output to logs/NAME.log. When ctx ends, the server is stopped, with all
// processes of its process group.
func Start(ctx context.Context, s Spec, logs string) (*Process, error) {
	p := &Process{Spec: s, Log: filepath.Join(logs, s.Name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	defer out.Close()
	p.cmd = exec.Command(s.Path, s.Args...)
	p.cmd.Env = append(p.cmd.Environ(), s.Env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = attributes()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.done)
	}()
	go func() {
		select {
		case <-p.done:
		case <-ctx.Done():
			p.stop()
		}
	}()
	return p, nil
}

func (p *Process) stop() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // an error means that it has ended already
	select {
	case <-p.done:
	case <-time.After(stopGrace):
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
}

// Done is closed when the server has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err describes how the server ended, with the end of its log. Call it after Done is closed.
func (p *Process) Err() error {
	how := "exit status 0"
	if p.exit != nil {
		how = p.exit.Error()
	}
	return &ExitError{Name: p.Name, How: how, Log: p.Log, Tail: Tail(p.Log)}
}

// AwaitReady returns when the server answers. It fails when the server ends first or ctx does.
func (p *Process) AwaitReady(ctx context.Context) error {
	if p.Ready == nil {
		return nil
	}
	const first, most = 10 * time.Millisecond, 100 * time.Millisecond
	for wait := first; ; wait = min(wait*3/2, most) {
		last := p.Ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last answer: %w; its output: %s)", p.Name, ctx.Err(), last, p.Log)
		case <-time.After(wait):
		}
	}
}

// ExitError reports that a server ended by itself.
type ExitError struct {
	Name string // of the server
	How  string // "exit status 1", "signal: killed"
	Log  string // the file that has its output
	Tail string // the end of that file
}

func (e *ExitError) Error() string {
	if e.Tail == "" {
		return fmt.Sprintf("%s ended (%s) and wrote nothing to its log", e.Name, e.How)
	}
	return fmt.Sprintf("%s ended (%s); the end of %s:\n%s", e.Name, e.How, e.Log, e.Tail)
}

// Tail returns the last lines of a log, or "" when it cannot be read.
func Tail(path string) string {
	const enough = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-enough), io.SeekStart)
	}
	data, err := io.ReadAll(f)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return strings.Join(lines, "\n")
}
