package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"
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
	case Fault: // the error that follows names it
		return "", false
	case Log, Observation:
		if !p.Verbose {
			return "", false
		}
		return said("| ", about(e))
	case AppOutput:
		return e.Object + "  " + e.Message, true
	case Trouble:
		return said("✘ ", strings.ReplaceAll(e.Message, "\n", fmt.Sprintf("\n%-9s   ", "")))
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

// ShortDigest shortens a digest for people: "c9d679eea6ed". Other texts stay.
func ShortDigest(digest string) string {
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok && algorithm == "sha256" && len(hex) > 12 {
		return hex[:12]
	}
	return digest
}

// Count formats a number of things: "1 object", "3 objects".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Span writes a time as flags and aksflow.yaml take it, without the units at its end that are zero: "10m", "48h", "1m30s".
func Span(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Ago says how long something is ago, in words.
func Ago(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / unit.size); n > 0 {
			return Count(n, unit.name) + " ago"
		}
	}
	return "just now"
}
