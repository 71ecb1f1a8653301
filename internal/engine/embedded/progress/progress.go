// Package progress turns what BuildKit says of a build into events for the user, and keeps the output of its steps for
// errors.
package progress

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Session is what the builds of a session share.
type Session struct {
	Hide func(string) string // removes secrets from a text

	warned sync.Map // messages that the user has seen
	told   sync.Map // digests of steps whose end the user has seen
}

// Watcher follows one build.
type Watcher struct {
	ctx      context.Context
	session  *Session
	vertices map[digest.Digest]*Vertex

	mu      sync.Mutex
	running map[digest.Digest]bool
}

// Vertex is a step of a build.
type Vertex struct {
	Name           string
	internal       bool
	started        bool
	ended          bool
	Stdout, Stderr Tail
	parts          [2][]byte // an unfinished line of standard output, of standard error
	moving         map[string][2]int64
}

// transferred remembers how much of something was transferred for the step, such as a layer of an image.
func (v *Vertex) transferred(id string, now, total int64) {
	if v.moving == nil {
		v.moving = map[string][2]int64{}
	}
	v.moving[id] = [2]int64{now, total}
}

// transfers says how much was transferred of everything, in tenths: a log has a line for each text, and layers come many at a
// time. It is empty before the first tenth.
func (v *Vertex) transfers() string {
	var now, total int64
	for _, m := range v.moving {
		now, total = now+m[0], total+m[1]
	}
	if tenths := 10 * now / total; tenths > 0 {
		return fmt.Sprintf("%d %% of %.1f MB", 10*tenths, float64(total)/1e6)
	}
	return ""
}

// Watch returns a watcher of a build whose events go to the context.
func (s *Session) Watch(ctx context.Context) *Watcher {
	return &Watcher{ctx: ctx, session: s, vertices: map[digest.Digest]*Vertex{}, running: map[digest.Digest]bool{}}
}

// Vertex returns a step by its digest.
func (w *Watcher) Vertex(d string) *Vertex { return w.known(digest.Digest(d)) }

func (w *Watcher) known(d digest.Digest) *Vertex {
	v := w.vertices[d]
	if v == nil {
		v = &Vertex{}
		w.vertices[d] = v
	}
	return v
}

// InternalPrefix marks steps that are not the user's but BuildKit's or the engine's own.
const InternalPrefix = "[internal] "

// mismatch is what BuildKit says of an image that is not for its own platform. It knows of no other request: the engine asks
// for a platform with each step, and checks what it gets.
var mismatch = regexp.MustCompile(`^Requested platforms? .* not match result platform`)

const (
	// identifying is what BuildKit says when the engine asks for the digest of an image.
	identifying = "exporting to image"
	// exporting is what it says when the engine fetches a directory, such as that of the reports of tests.
	exporting = "exporting to client directory"
	// importing is what it says when it looks for a cache in a registry, before the reference.
	importing = "importing cache manifest from "
)

// Update takes what BuildKit says.
func (w *Watcher) Update(s *bkclient.SolveStatus) {
	for _, x := range s.Vertexes {
		w.note(x)
		v := w.known(x.Digest)
		v.Name = shortened(w.session.Hide(x.Name))
		v.internal = strings.HasPrefix(v.Name, InternalPrefix) || v.Name == identifying || v.Name == exporting || strings.HasPrefix(x.Name, importing)
		w.noteImport(x)
		if v.internal || v.ended || x.Started == nil {
			continue
		}
		// Every leaf of a graph runs through all of it. What was done is told once.
		if _, told := w.session.told.Load(x.Digest); told {
			continue
		}
		if x.Completed == nil {
			if !v.started {
				v.started = true
				report.Progressf(w.ctx, v.Name, "running")
			}
			continue
		}
		v.ended = true
		w.flush(v)
		switch {
		case x.Error != "": // which is returned
		case x.Cached:
			w.session.told.Store(x.Digest, true)
			report.Donef(w.ctx, v.Name, "cached")
		default:
			w.session.told.Store(x.Digest, true)
			report.Donef(w.ctx, v.Name, "done in %s", report.Span(x.Completed.Sub(*x.Started).Round(10*time.Millisecond)))
		}
	}
	for _, x := range s.Statuses {
		w.transfer(x)
	}
	for _, x := range s.Logs {
		v := w.known(x.Vertex)
		stream := 0
		if x.Stream == 2 {
			stream = 1
			v.Stderr.Add(x.Data)
		} else {
			v.Stdout.Add(x.Data)
		}
		end := bytes.LastIndexByte(x.Data, '\n') + 1
		if end > 0 {
			w.show(v, string(append(v.parts[stream], x.Data[:end]...)))
			v.parts[stream] = nil
		}
		v.parts[stream] = append(v.parts[stream], x.Data[end:]...) // a line may be long, and come in small parts
	}
	for _, x := range s.Warnings {
		message := w.session.Hide(string(x.Short))
		if !mismatch.MatchString(message) {
			w.warn(message)
		}
	}
}

// transfer tells how much of a step's files was transferred.
func (w *Watcher) transfer(x *bkclient.VertexStatus) {
	v := w.known(x.Vertex)
	if v.internal || x.Total <= 0 {
		return
	}
	v.transferred(x.ID, x.Current, x.Total)
	if text := v.transfers(); text != "" && x.Completed == nil {
		report.Progressf(w.ctx, v.Name, "%s", text)
	}
}

// warn warns of something once.
func (w *Watcher) warn(message string) {
	if _, seen := w.session.warned.LoadOrStore(message, true); !seen {
		report.Warn(w.ctx, "%s", message)
	}
}

// noteImport warns of a cache that cannot be read. That there is none is nothing to tell.
func (w *Watcher) noteImport(x *bkclient.Vertex) {
	if ref, ok := strings.CutPrefix(x.Name, importing); ok && x.Error != "" && !strings.Contains(x.Error, "not found") {
		w.warn(fmt.Sprintf("the build cache %s cannot be read: %s", ref, w.session.Hide(x.Error)))
	}
}

// note keeps running up to date, which others read meanwhile.
func (w *Watcher) note(x *bkclient.Vertex) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.Started != nil && x.Completed == nil {
		w.running[x.Digest] = true
	} else {
		delete(w.running, x.Digest)
	}
}

// Runs returns the digests of the steps that run.
func (w *Watcher) Runs() []digest.Digest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.running))
}

// flush shows what a step wrote without a newline at its end.
func (w *Watcher) flush(v *Vertex) {
	for i, part := range v.parts {
		w.show(v, string(part))
		v.parts[i] = nil
	}
}

func (w *Watcher) show(v *Vertex, text string) {
	for line := range strings.Lines(text) {
		report.Logf(w.ctx, v.Name, "%s", w.session.Hide(strings.TrimRight(line, "\r\n")))
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

// Tail keeps the end of what is written to it.
type Tail struct{ data []byte }

// maxTail bounds what an error carries of one stream, in bytes.
const maxTail = 128 << 10

// Add appends to what is kept.
func (t *Tail) Add(p []byte) {
	t.data = append(t.data, p...)
	if over := len(t.data) - maxTail; over > maxTail { // not at each line
		t.data = append([]byte(nil), t.data[over:]...)
	}
}

// String returns what is kept.
func (t *Tail) String() string { return string(t.data[max(0, len(t.data)-maxTail):]) }
