package embedded

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// serviceLog takes a service's output: it goes to the reader line by line, and its end is kept for errors.
type serviceLog struct {
	address        chan net.IP
	stdout, stderr lineWriter
}

func newServiceLog(ctx context.Context, e *Engine, name string) *serviceLog {
	l := &serviceLog{address: make(chan net.IP, 1)}
	show := func(line string) bool {
		report.Logf(ctx, name, "%s", e.secrets.hide(line))
		return true
	}
	l.stdout.line = show
	l.stderr.line = func(line string) bool {
		l.stderr.line = show
		address, ok := strings.CutPrefix(line, contract.AddressPrefix)
		if !ok { // the shim failed
			return show(line)
		}
		l.address <- net.ParseIP(address)
		return false
	}
	return l
}

// failure is a service that ended by itself.
func (l *serviceLog) failure(name string, cmd []string, code int) *ExecError {
	return &ExecError{Cmd: cmd, ExitCode: code, Stdout: l.stdout.text(), Stderr: l.stderr.text(), Place: name}
}

// lastLines is the log's end as the end of an error.
func (l *serviceLog) lastLines() string {
	text := strings.TrimSpace(l.stdout.text() + l.stderr.text())
	if text == "" {
		return "; it printed nothing"
	}
	return "; its log ends with:\n" + lastLines(text)
}

// lineWriter calls line with each line that is written to it, and keeps those for which it returns true.
type lineWriter struct {
	mu   sync.Mutex
	line func(string) bool
	part []byte
	tail tail
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part = append(w.part, p...)
	for {
		end := bytes.IndexByte(w.part, '\n')
		if end < 0 {
			return len(p), nil
		}
		if w.line(string(w.part[:end])) {
			w.tail.add(w.part[:end+1])
		}
		w.part = w.part[end+1:]
	}
}

// Close implements [io.WriteCloser].
func (w *lineWriter) Close() error { return nil }

func (w *lineWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tail.String() + string(w.part)
}
