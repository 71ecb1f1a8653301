package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Plain writes one line for each event, without cursor movement and colour: for logs that are read later.
type Plain struct {
	// Verbose prints Log events too.
	Verbose bool

	mu   sync.Mutex
	out  io.Writer
	last map[string]string // step and object -> the progress that was printed last
}

// NewPlain returns a sink that writes to out.
func NewPlain(out io.Writer, verbose bool) *Plain {
	return &Plain{Verbose: verbose, out: out, last: map[string]string{}}
}

// Event implements Sink.
func (p *Plain) Event(e Event) {
	e = cleaned(e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if line, ok := p.line(e); ok {
		fmt.Fprintln(p.out, line)
	}
}

func (p *Plain) line(e Event) (string, bool) {
	prefix := e.Step
	if prefix == "" {
		prefix = "aksflow"
	}
	said := func(mark, what string) (string, bool) {
		return fmt.Sprintf("%-9s %s%s", prefix, mark, what), true
	}
	switch e.Kind {
	case StepStarted:
		return said("", "started")
	case StepDone:
		return said("✔ ", strings.TrimSpace(e.Message+" ("+Seconds(e.Elapsed)+")"))
	case StepFailed:
		// The error itself is printed at the end of the run.
		return said("✘ ", "failed after "+Seconds(e.Elapsed))
	case Progress:
		key := e.Step + "\x00" + e.Object
		if p.last[key] == e.Message {
			return "", false
		}
		p.last[key] = e.Message
		return said("· ", about(e))
	case Log, Fault:
		if !p.Verbose {
			return "", false
		}
		return said("| ", about(e))
	case Warning:
		return said("! ", about(e))
	default:
		return said("", about(e))
	}
}

// about joins an event's object and message.
func about(e Event) string {
	if e.Object == "" {
		return e.Message
	}
	return e.Object + ": " + e.Message
}

// Seconds formats a duration for people: "0.4 s", "12.0 s", "2 m 05 s".
func Seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d m %02d s", d/time.Minute, d%time.Minute/time.Second)
}

// GitHub writes what Plain writes, and the workflow commands that fold the lines of a step into a group and attach warnings
// and errors to a file.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
type GitHub struct {
	plain  *Plain
	root   string // the repository's folder, "" when it is not known
	failed bool   // a step has annotated its error
}

// NewGitHub returns a sink for the log of a GitHub Actions step. Root is the folder of the repository, GITHUB_WORKSPACE:
// annotations name files relative to it. When it is empty, files keep the names that the events have.
func NewGitHub(out io.Writer, root string) *GitHub {
	return &GitHub{plain: NewPlain(out, true), root: root}
}

// Event implements Sink.
func (g *GitHub) Event(e Event) {
	e = cleaned(e)
	g.plain.mu.Lock()
	defer g.plain.mu.Unlock()
	switch e.Kind {
	case StepStarted:
		fmt.Fprintf(g.plain.out, "::group::%s\n", commandData(e.Step))
		return
	case StepDone, StepFailed:
		fmt.Fprintln(g.plain.out, "::endgroup::")
	case Warning:
		fmt.Fprintf(g.plain.out, "::warning%s::%s\n", g.properties(e, "aksflow"), commandData(about(e)))
		return
	case Fault:
		fmt.Fprintf(g.plain.out, "::error%s::%s\n", g.properties(e, e.Object), commandData(e.Message))
		return
	}
	if line, ok := g.plain.line(e); ok {
		fmt.Fprintln(g.plain.out, line)
	}
	if e.Kind == StepFailed {
		g.failed = true
		fmt.Fprintf(g.plain.out, "::error%s::%s\n", g.properties(e, "aksflow "+e.Step), commandData(Clean(e.Err.Error())))
	}
}

// Fail annotates the run with the error that ended it, unless a step has annotated it.
func (g *GitHub) Fail(err error) {
	g.plain.mu.Lock()
	defer g.plain.mu.Unlock()
	if !g.failed {
		fmt.Fprintf(g.plain.out, "::error title=aksflow::%s\n", commandData(Clean(err.Error())))
	}
}

func (g *GitHub) properties(e Event, title string) string {
	out := " title=" + commandProperty(title)
	if e.File != "" {
		out += ",file=" + commandProperty(g.inRepository(e.File))
		if e.Line > 0 {
			out += fmt.Sprintf(",line=%d", e.Line)
		}
	}
	return out
}

// inRepository returns a file's path relative to the root of the repository, or the path itself for other files.
func (g *GitHub) inRepository(file string) string {
	if g.root == "" {
		return file
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	if rel, err := filepath.Rel(g.root, abs); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return file
}

// commandData and commandProperty escape as actions/toolkit's command.ts does: a raw newline would end the command.
func commandData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func commandProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}

// Terminal prints finished steps as lines, and redraws what is in progress below them.
type Terminal struct {
	// Verbose prints Log events above the live lines.
	Verbose bool

	mu      sync.Mutex
	out     io.Writer
	width   func() int
	drawn   int // live lines on the screen
	step    string
	began   time.Time
	objects []liveObject // in order of their first progress
	frame   int
	stop    chan struct{}
	stopped sync.WaitGroup
}

type liveObject struct{ name, message string }

// maxLive bounds the live lines, so that a redraw never scrolls the screen.
const maxLive = 10

// NewTerminal returns a sink that draws on out. The function width returns its width in columns. Close ends the drawing.
func NewTerminal(out io.Writer, verbose bool, width func() int) *Terminal {
	t := &Terminal{Verbose: verbose, out: out, width: width, stop: make(chan struct{})}
	t.stopped.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-t.stop:
				return
			case <-tick.C:
				t.mu.Lock()
				if t.step != "" {
					t.frame++
					t.redraw("")
				}
				t.mu.Unlock()
			}
		}
	})
	return t
}

// Close removes the live lines. The sink must not be used afterwards.
func (t *Terminal) Close() error {
	close(t.stop)
	t.stopped.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step = ""
	t.redraw("")
	return nil
}

// Event implements Sink.
func (t *Terminal) Event(e Event) {
	e = cleaned(e)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case StepStarted:
		t.step, t.began, t.objects = e.Step, e.Time, nil
		t.redraw("")
	case StepDone:
		t.end(e, text.FgGreen.Sprint("✔"), e.Message)
	case StepFailed:
		t.end(e, text.FgRed.Sprint("✘"), text.FgRed.Sprint("failed"))
	case Progress:
		t.progress(e)
	case Log, Fault:
		if t.Verbose {
			t.redraw(text.Faint.Sprint("  " + about(e)))
		}
	case Warning:
		t.redraw(text.FgYellow.Sprint("! ") + about(e))
	default:
		t.redraw("  " + about(e))
	}
}

func (t *Terminal) end(e Event, mark, message string) {
	if t.step == e.Step {
		t.step, t.objects = "", nil
	}
	line := fmt.Sprintf("%s %-9s %9s  %s", mark, e.Step, Seconds(e.Elapsed), message)
	t.redraw(strings.TrimRight(line, " "))
}

func (t *Terminal) progress(e Event) {
	for i := range t.objects {
		if t.objects[i].name == e.Object {
			t.objects[i].message = e.Message
			return
		}
	}
	t.objects = append(t.objects, liveObject{e.Object, e.Message})
}

// redraw replaces the live lines. It prints the line above before them, unless that is empty.
func (t *Terminal) redraw(above string) {
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", t.drawn)
	}
	if above != "" {
		b.WriteString(above + "\n")
	}
	lines := t.live()
	for _, line := range lines {
		b.WriteString(text.Trim(line, max(20, t.width()-1)) + "\n")
	}
	t.drawn = len(lines)
	if b.Len() > 0 {
		// A terminal that is gone does not fail the run.
		_, _ = io.WriteString(t.out, b.String())
	}
}

func (t *Terminal) live() []string {
	if t.step == "" {
		return nil
	}
	spinner := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	head := fmt.Sprintf("%s %-9s %9s", text.FgCyan.Sprint(string(spinner[t.frame%len(spinner)])), t.step, Seconds(time.Since(t.began)))
	objects := t.objects
	if len(objects) == 1 && objects[0].name == "" {
		return []string{head + "  " + objects[0].message}
	}
	lines := []string{head}
	if len(objects) > maxLive {
		objects = objects[len(objects)-maxLive:]
	}
	for _, o := range objects {
		lines = append(lines, text.Faint.Sprint("    ")+strings.TrimSpace(o.name+"  "+text.Faint.Sprint(o.message)))
	}
	return lines
}

// Count formats a number of things: "1 object", "3 objects".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
