package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/aksflow/aksflow/internal/report"
)

// watcher turns a job's status into events, and keeps the output of its steps for errors.
type watcher struct {
	ctx      context.Context
	engine   *Engine
	vertices map[digest.Digest]*vertex
}

type vertex struct {
	name           string
	internal       bool
	started        time.Time
	ended          bool
	stdout, stderr tail
	lines          [2]strings.Builder // an unfinished line of standard output, of standard error
}

func newWatcher(ctx context.Context, e *Engine) *watcher {
	return &watcher{ctx: ctx, engine: e, vertices: map[digest.Digest]*vertex{}}
}

func (w *watcher) vertex(d string) *vertex { return w.known(digest.Digest(d)) }

func (w *watcher) known(d digest.Digest) *vertex {
	v := w.vertices[d]
	if v == nil {
		v = &vertex{}
		w.vertices[d] = v
	}
	return v
}

// internalPrefix marks steps that are BuildKit's or the engine's own affair.
const internalPrefix = "[internal] "

func (w *watcher) update(s *bkclient.SolveStatus) {
	for _, x := range s.Vertexes {
		v := w.known(x.Digest)
		v.name = w.engine.secrets.hide(x.Name)
		v.internal = strings.HasPrefix(v.name, internalPrefix)
		if v.internal || v.ended || x.Started == nil {
			continue
		}
		switch {
		case x.Completed != nil && x.Error != "":
			v.ended = true // the error itself is returned
		case x.Completed != nil && x.Cached:
			v.ended = true
			report.Progressf(w.ctx, v.name, "cached")
		case x.Completed != nil:
			v.ended = true
			report.Progressf(w.ctx, v.name, "done in %s", x.Completed.Sub(*x.Started).Round(10*time.Millisecond))
		case v.started.IsZero():
			v.started = *x.Started
			report.Progressf(w.ctx, v.name, "running")
		}
	}
	for _, x := range s.Statuses {
		v := w.known(x.Vertex)
		if !v.internal && x.Total > 0 && x.Current > 0 && x.Completed == nil {
			report.Progressf(w.ctx, v.name, "%s %s of %s", shortName(x.ID), megabytes(x.Current), megabytes(x.Total))
		}
	}
	for _, x := range s.Logs {
		v := w.known(x.Vertex)
		stream := 0
		if x.Stream == 2 {
			stream = 1
			v.stderr.add(x.Data)
		} else {
			v.stdout.add(x.Data)
		}
		v.lines[stream].Write(x.Data)
		text := v.lines[stream].String()
		end := strings.LastIndexByte(text, '\n')
		if end < 0 {
			continue
		}
		v.lines[stream].Reset()
		v.lines[stream].WriteString(text[end+1:])
		for line := range strings.SplitSeq(text[:end], "\n") {
			report.Logf(w.ctx, v.name, "%s", w.engine.secrets.hide(strings.TrimRight(line, "\r")))
		}
	}
	for _, x := range s.Warnings {
		message := w.engine.secrets.hide(string(x.Short))
		if _, seen := w.engine.warned.LoadOrStore(message, true); !seen {
			report.Warn(w.ctx, "%s", message)
		}
	}
}

// shortName shortens a digest in the name of a transfer.
func shortName(id string) string {
	if algorithm, hex, ok := strings.Cut(id, ":"); ok && algorithm == "sha256" && len(hex) > 12 {
		return hex[:12]
	}
	return id
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

// maxTail bounds what an error carries of one stream, in bytes.
const maxTail = 128 << 10

func (t *tail) add(p []byte) {
	t.data = append(t.data, p...)
	if over := len(t.data) - maxTail; over > maxTail { // not at each line
		t.data = append([]byte(nil), t.data[over:]...)
	}
}

func (t *tail) String() string { return string(t.data[max(0, len(t.data)-maxTail):]) }
