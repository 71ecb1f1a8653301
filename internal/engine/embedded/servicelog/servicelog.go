// Package servicelog takes the output of services.
package servicelog

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// Log takes a service's output: it goes to the reader line by line, and its end is kept for errors.
type Log struct {
	// Address gets the address of the service, once.
	Address        chan net.IP
	Stdout, Stderr Writer
}

// New returns a log whose lines go to the context, under a name and without what hide takes out.
func New(ctx context.Context, name string, hide func(string) string) *Log {
	l := &Log{Address: make(chan net.IP, 1)}
	show := func(line string) bool {
		report.Logf(ctx, name, "%s", hide(line))
		return true
	}
	l.Stdout.line = show
	l.Stderr.line = func(line string) bool {
		l.Stderr.line = show
		address, ok := strings.CutPrefix(line, contract.AddressPrefix)
		if !ok { // the shim failed
			return show(line)
		}
		l.Address <- net.ParseIP(address)
		return false
	}
	return l
}

// Failure is a service that ended by itself.
func (l *Log) Failure(name string, cmd []string, code int) *failure.ExecError {
	return &failure.ExecError{Cmd: cmd, ExitCode: code, Stdout: l.Stdout.text(), Stderr: l.Stderr.text(), Place: name}
}

// LastLines is the log's end as the end of an error.
func (l *Log) LastLines() string {
	text := strings.TrimSpace(l.Stdout.text() + l.Stderr.text())
	if text == "" {
		return "; the service printed nothing"
	}
	return "; its log ends with:\n" + failure.LastLines(text)
}

// Writer calls line with each line that is written to it, and keeps those for which it returns true.
type Writer struct {
	mu   sync.Mutex
	line func(string) bool
	part []byte
	tail progress.Tail
}

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part = append(w.part, p...)
	for {
		end := bytes.IndexByte(w.part, '\n')
		if end < 0 {
			return len(p), nil
		}
		if w.line(string(w.part[:end])) {
			w.tail.Add(w.part[:end+1])
		}
		w.part = w.part[end+1:]
	}
}

// Close implements [io.WriteCloser].
func (w *Writer) Close() error { return nil }

func (w *Writer) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tail.String() + string(w.part)
}
