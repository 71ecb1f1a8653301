package embedded

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/aksflow/aksflow/internal/core/report"
)

// watcher turns a job's status into events, and keeps the output of its steps for errors.
type watcher struct {
	ctx      context.Context
	engine   *Engine
	vertices map[digest.Digest]*vertex

	mu      sync.Mutex
	running map[digest.Digest]bool
}

type vertex struct {
	name           string
	internal       bool
	started        bool
	ended          bool
	stdout, stderr tail
	parts          [2]string // an unfinished line of standard output, of standard error
}

func newWatcher(ctx context.Context, e *Engine) *watcher {
	return &watcher{ctx: ctx, engine: e, vertices: map[digest.Digest]*vertex{}, running: map[digest.Digest]bool{}}
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

// internalPrefix marks steps that are not the user's but BuildKit's or the engine's own.
const internalPrefix = "[internal] "

// identifying is what BuildKit says when imageDigest asks for a digest.
const identifying = "exporting to image"

func (w *watcher) update(s *bkclient.SolveStatus) {
	for _, x := range s.Vertexes {
		w.note(x)
		v := w.known(x.Digest)
		v.name = shortened(w.engine.secrets.hide(x.Name))
		v.internal = strings.HasPrefix(v.name, internalPrefix) || v.name == identifying
		if v.internal || v.ended || x.Started == nil {
			continue
		}
		// Every leaf of a graph runs through all of it. What was done is told once.
		if _, told := w.engine.told.Load(x.Digest); told {
			continue
		}
		if x.Completed == nil {
			if !v.started {
				v.started = true
				report.Progressf(w.ctx, v.name, "running")
			}
			continue
		}
		v.ended = true
		w.flush(v)
		switch {
		case x.Error != "": // which is returned
		case x.Cached:
			w.engine.told.Store(x.Digest, true)
			report.Progressf(w.ctx, v.name, "cached")
		default:
			w.engine.told.Store(x.Digest, true)
			report.Progressf(w.ctx, v.name, "done in %s", x.Completed.Sub(*x.Started).Round(10*time.Millisecond))
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
		text := v.parts[stream] + string(x.Data)
		end := strings.LastIndexByte(text, '\n') + 1
		v.parts[stream] = text[end:]
		w.show(v, text[:end])
	}
	for _, x := range s.Warnings {
		message := w.engine.secrets.hide(string(x.Short))
		if _, seen := w.engine.warned.LoadOrStore(message, true); !seen {
			report.Warn(w.ctx, "%s", message)
		}
	}
}

// note keeps running up to date, which others read meanwhile.
func (w *watcher) note(x *bkclient.Vertex) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.Started != nil && x.Completed == nil {
		w.running[x.Digest] = true
	} else {
		delete(w.running, x.Digest)
	}
}

// runs returns the digests of the steps that run.
func (w *watcher) runs() []digest.Digest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.running))
}

// flush shows what a step wrote without a newline at its end.
func (w *watcher) flush(v *vertex) {
	for i, part := range v.parts {
		w.show(v, part)
		v.parts[i] = ""
	}
}

func (w *watcher) show(v *vertex, text string) {
	for line := range strings.Lines(text) {
		report.Logf(w.ctx, v.name, "%s", w.engine.secrets.hide(strings.TrimRight(line, "\r\n")))
	}
}

// maxName is how much of a step's name is shown: commands may be whole scripts.
const maxName = 100

func shortened(name string) string {
	name = strings.Join(strings.Fields(name), " ")
	if r := []rune(name); len(r) > maxName {
		return string(r[:maxName]) + "…"
	}
	return name
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
