package report_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/report"
)

// screen is what a terminal shows: it knows the sequences that Terminal uses.
type screen struct {
	mu     sync.Mutex
	lines  []string
	frames []string // what was shown after each write
	widest int
}

var up = regexp.MustCompile(`^\x1b\[(\d+)A\r\x1b\[J`)

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := string(p)
	if m := up.FindStringSubmatch(rest); m != nil {
		n := 0
		for _, digit := range m[1] {
			n = 10*n + int(digit-'0')
		}
		s.lines = s.lines[:len(s.lines)-n]
		rest = rest[len(m[0]):]
	}
	for line := range strings.Lines(rest) {
		line = text.StripEscape(strings.TrimSuffix(line, "\n"))
		s.widest = max(s.widest, text.StringWidth(line))
		s.lines = append(s.lines, line)
	}
	s.frames = append(s.frames, strings.Join(s.lines, "\n"))
	return len(p), nil
}

func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

const digest = "sha256:c9d679eea6ed0c5dc4b3f3c3b3ed3f4a5b6c7d8e9f0a1b2c3d4e5f60718293a4"

// show plays a delivery on a screen of a width, and returns what it shows in the middle of the deploy and at the end.
func show(t *testing.T, width int) (middle, end string) {
	t.Helper()
	s := &screen{}
	term := report.NewTerminal(s, false, func() (int, int) { return width, 24 })
	ctx := report.With(context.Background(), term)
	report.Info(ctx, "environment local: --env names it")
	step, done := report.Start(ctx, "build")
	report.Donef(step, "[base 2/3] RUN apt-get update && apt-get install -y --no-install-recommends gunicorn", "cached")
	report.Logf(step, "make", "not shown")
	done(digest, nil)
	step, done = report.Start(ctx, "publish")
	report.Progressf(step, "c9d679eea6ed", "50%% of 12.1 MiB")
	done("localhost:5000/vote@"+digest, nil)
	step, done = report.Start(ctx, "deploy")
	report.Donef(step, "ConfigMap/vote", "configured")
	report.Waitf(step, "Deployment/vote", "0 of 2 pods ready: pod vote-6d9f7c-x2x4v: ContainerCreating")
	report.Warn(step, "the API server does not answer: trying again for up to 2m")
	middle = s.shown()
	done("", errors.New("the error is printed at the end"))
	assert.NoError(t, term.Close())
	assert.LessOrEqual(t, s.widest, width-1, "no line may be wrapped by the terminal")
	return middle, s.shown()
}

func TestTerminal(t *testing.T) {
	for width, want := range map[int]struct{ middle, end string }{
		120: {
			middle: `         environment local: --env names it
done     build         0.0 s  sha256:c9d679eea6ed…
done     publish       0.0 s  localhost:5000/vote@sha256:c9d679eea6ed…
warning  the API server does not answer: trying again for up to 2m
running  deploy        0.0 s
  waiting  Deployment/vote  0 of 2 pods ready: pod vote-6d9f7c-x2x4v: ContainerCreating
  done     ConfigMap/vote  configured`,
			end: `         environment local: --env names it
done     build         0.0 s  sha256:c9d679eea6ed…
done     publish       0.0 s  localhost:5000/vote@sha256:c9d679eea6ed…
warning  the API server does not answer: trying again for up to 2m
failed   deploy        0.0 s`,
		},
		40: {
			middle: `         environment local: --env names
         it
done     build         0.0 s
         sha256:c9d679eea6ed…
done     publish       0.0 s
         localhost:5000/vote@sha256:c9d
         679eea6ed…
warning  the API server does not
         answer: trying again for up to
         2m
running  deploy        0.0 s
  waiting  Deployment/vote
           0 of 2 pods ready: pod vote-
  done     ConfigMap/vote  configured`,
			end: `         environment local: --env names
         it
done     build         0.0 s
         sha256:c9d679eea6ed…
done     publish       0.0 s
         localhost:5000/vote@sha256:c9d
         679eea6ed…
warning  the API server does not
         answer: trying again for up to
         2m
failed   deploy        0.0 s`,
		},
	} {
		middle, end := show(t, width)
		assert.Equal(t, want.middle, trimmed(middle), "%d columns", width)
		assert.Equal(t, want.end, trimmed(end), "%d columns", width)
	}
	show(t, 80)
	show(t, 32)
}

// trimmed is a text without spaces at the ends of lines.
func trimmed(s string) string {
	return regexp.MustCompile(`(?m) +$`).ReplaceAllString(s, "")
}

func TestTerminalShowsWhatIsNotFinishedFirst(t *testing.T) {
	s := &screen{}
	term := report.NewTerminal(s, false, func() (int, int) { return 80, 10 })
	ctx, done := report.Start(report.With(context.Background(), term), "deploy")
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		report.Donef(ctx, "ConfigMap/"+name, "created")
	}
	report.Waitf(ctx, "Deployment/vote", "0 of 1 pods ready")
	report.Warn(ctx, "drawn now")
	lines := strings.Split(s.shown(), "\n")
	assert.Len(t, lines, 1+1+7, "the live lines leave room on the screen")
	assert.Contains(t, lines[2], "waiting  Deployment/vote")
	assert.Contains(t, lines[8], "ConfigMap/i")
	done("", nil)
	assert.NoError(t, term.Close())
}

func TestWrap(t *testing.T) {
	assert.Equal(t, "aksflow: deploy:\n    Deployment/vote:\n    it exits with 1\n    | KeyError", report.Wrap("aksflow: deploy: Deployment/vote: it exits with 1\n    | KeyError", 20))
	assert.Equal(t, "as it is\n  and so", report.Wrap("as it is\n  and so", 80))
}
