package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Terminal shows a run on two levels: a line for each step, and below the step that is in progress what it works on and
// waits for, redrawn as it changes. Each line begins with a status word. No line is longer than the screen is wide.
type Terminal struct {
	// Verbose prints Log events above the live lines.
	Verbose bool

	mu      sync.Mutex
	out     io.Writer
	size    func() (width, height int)
	drawn   int // live lines on the screen
	step    string
	began   time.Time
	objects []liveObject // in order of their first progress
	stop    chan struct{}
	stopped sync.WaitGroup
}

type liveObject struct {
	name, message string
	state         State
}

const (
	statusWidth = 8 // columns of the status word
	nameWidth   = 10
	maxLive     = 12 // bounds the live lines
	narrow      = 60 // columns below which a message has a line of its own
)

// NewTerminal returns a sink that draws on out. The function size returns its size in columns and lines. Close ends the
// drawing.
func NewTerminal(out io.Writer, verbose bool, size func() (width, height int)) *Terminal {
	t := &Terminal{Verbose: verbose, out: out, size: size, stop: make(chan struct{})}
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
		t.end(e, "done", text.FgGreen, e.Message)
	case StepFailed: // the error itself is printed at the end of the run
		t.end(e, "failed", text.FgRed, "")
	case Progress:
		t.progress(e)
	case Fault: // the error that follows names it
	case Log, Observation:
		if t.Verbose {
			t.redraw(t.paragraph("", text.Faint, about(e)))
		}
	case AppOutput:
		t.redraw(text.Faint.Sprint(e.Object) + "  " + e.Message)
	case Trouble:
		t.redraw(status("failed", text.FgRed) + strings.TrimLeft(Wrap(strings.Repeat(" ", statusWidth+1)+e.Message, t.columns()), " "))
	case Warning:
		t.redraw(t.paragraph("warning", text.FgYellow, about(e)))
	default:
		t.redraw(t.paragraph("", text.Faint, about(e)))
	}
}

func (t *Terminal) end(e Event, word string, color text.Color, message string) {
	if t.step == e.Step {
		t.step, t.objects = "", nil
	}
	t.redraw(t.row(word, color, e.Step, e.Elapsed, message))
}

func (t *Terminal) progress(e Event) {
	for i := range t.objects {
		if t.objects[i].name == e.Object {
			t.objects[i].message, t.objects[i].state = e.Message, e.State
			return
		}
	}
	t.objects = append(t.objects, liveObject{e.Object, e.Message, e.State})
}

// redraw replaces the live lines. It prints the text above before them, unless that is empty.
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
		b.WriteString(line + "\n")
	}
	t.drawn = len(lines)
	if b.Len() > 0 {
		// A terminal that is gone does not fail the run.
		_, _ = io.WriteString(t.out, b.String())
	}
}

// columns is how wide a line may be: in the last column some terminals wrap. The head of a step needs 28.
func (t *Terminal) columns() int {
	width, _ := t.size()
	return max(28, width-1)
}

// row is the line of a step: status, name, time, message.
func (t *Terminal) row(word string, color text.Color, step string, elapsed time.Duration, message string) string {
	head := status(word, color) + fmt.Sprintf("%-*s %9s", nameWidth-1, step, Seconds(elapsed))
	message = Shorten(message)
	if message == "" {
		return head
	}
	if width := t.columns(); width < narrow || text.StringWidth(head+"  "+message) > width {
		return head + "\n" + t.paragraph("", text.Reset, message)
	}
	return head + "  " + message
}

// paragraph is a text behind a status word, wrapped between words.
func (t *Terminal) paragraph(word string, color text.Color, message string) string {
	lines := strings.Split(text.WrapSoft(message, max(10, t.columns()-statusWidth-1)), "\n")
	indent := strings.Repeat(" ", statusWidth+1)
	for i, line := range lines {
		if word == "" {
			line = color.Sprint(line)
		}
		lines[i] = indent + line
	}
	if word != "" {
		lines[0] = status(word, color) + strings.TrimPrefix(lines[0], indent)
	}
	return strings.Join(lines, "\n")
}

// status is a status word in its column.
func status(word string, color text.Color) string {
	return color.Sprint(word) + strings.Repeat(" ", max(1, statusWidth+1-len(word)))
}

// words and colors are those of an object in progress.
var (
	words  = map[State]string{Running: "running", Waiting: "waiting", Finished: "done"}
	colors = map[State]text.Color{Running: text.FgCyan, Waiting: text.FgYellow, Finished: text.FgGreen}
)

// live returns the lines of the step in progress: first what is not finished, then what is, as far as there is room.
func (t *Terminal) live() []string {
	if t.step == "" {
		return nil
	}
	elapsed := time.Since(t.began)
	if len(t.objects) == 1 && t.objects[0].name == "" {
		line := t.row("running", text.FgCyan, t.step, elapsed, t.objects[0].message)
		return strings.Split(line, "\n")
	}
	lines := []string{t.row("running", text.FgCyan, t.step, elapsed, "")}
	_, height := t.size()
	room := max(1, min(maxLive, height-3))
	var finished []string
	for _, o := range t.objects {
		if shown := t.object(o); o.state == Finished {
			finished = append(finished, shown...)
		} else {
			lines = append(lines, shown...)
		}
	}
	if over := len(lines) - 1 - room; over > 0 { // the newest are what goes on now
		lines = append(lines[:1], lines[1+over:]...)
	}
	left := room - (len(lines) - 1)
	return append(lines, finished[max(0, len(finished)-left):]...)
}

// object is what one thing in progress comes to, cut to the width of the screen.
func (t *Terminal) object(o liveObject) []string {
	const indent = "  "
	width := t.columns()
	head := indent + status(words[o.state], colors[o.state])
	message := Shorten(o.message)
	line := head + strings.TrimSpace(o.name+"  "+text.Faint.Sprint(message))
	if text.StringWidthWithoutEscSequences(line) <= width || o.state == Finished {
		return []string{text.Trim(line, width)}
	}
	if width >= narrow {
		// The message says more than the end of a long name.
		name := text.Trim(o.name, max(20, width-len(indent)-statusWidth-3-text.StringWidth(message)))
		return []string{text.Trim(head+name+"  "+text.Faint.Sprint(message), width)}
	}
	below := strings.Repeat(" ", len(indent)+statusWidth+1) + text.Faint.Sprint(message)
	return []string{text.Trim(head+o.name, width), text.Trim(below, width)}
}

var digests = regexp.MustCompile(`sha256:([0-9a-f]{12})[0-9a-f]{52}`)

// Shorten shortens the digests in a text for people: sha256:c9d679eea6ed….
func Shorten(s string) string { return digests.ReplaceAllString(s, "sha256:$1…") }

// Wrap breaks the lines of a text between words to a width, and indents what comes after the first of each by 4 columns.
func Wrap(s string, width int) string {
	const indent = "    "
	var out []string
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\r\n")
		if text.StringWidth(line) <= width {
			out = append(out, line)
			continue
		}
		own := line[:len(line)-len(strings.TrimLeft(line, " "))]
		parts := strings.Split(text.WrapSoft(strings.TrimLeft(line, " "), max(10, width-len(own)-len(indent))), "\n")
		for i, part := range parts {
			if i > 0 {
				part = indent + strings.TrimLeft(part, " ")
			}
			out = append(out, own+strings.TrimRight(part, " "))
		}
	}
	return strings.Join(out, "\n")
}
