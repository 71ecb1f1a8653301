package report_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/report"
)

// play sends a short run to s: one step that succeeds, one that fails.
func play(s report.Sink) {
	ctx := report.With(context.Background(), s)
	step, done := report.Start(ctx, "build")
	report.Logf(step, "app/Dockerfile", "RUN apt-get update")
	report.Progressf(step, "layer", "50%%")
	report.Progressf(step, "layer", "50%%")
	report.Warn(step, "no .dockerignore")
	done("sha256:abc", nil)
	_, done = report.Start(ctx, "test")
	done("", errors.New("1 test failed: test_vote\nmore"))
}

func seconds(s string) string {
	return strings.NewReplacer("0.0 s", "T").Replace(s)
}

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	play(report.NewPlain(&out, true))
	assert.Equal(t, `build     started
build     | app/Dockerfile: RUN apt-get update
build     · layer: 50%
build     ! no .dockerignore
build     ✔ sha256:abc (T)
test      started
test      ✘ failed after T
`, seconds(out.String()))
}

func TestGitHub(t *testing.T) {
	var out bytes.Buffer
	play(report.NewGitHub(&out, ""))
	assert.Equal(t, `::group::build
build     | app/Dockerfile: RUN apt-get update
build     · layer: 50%
::warning title=aksflow::no .dockerignore
::endgroup::
build     ✔ sha256:abc (T)
::group::test
::endgroup::
test      ✘ failed after T
::error title=aksflow test::1 test failed: test_vote%0Amore
`, seconds(out.String()))
}

func TestGitHubEscapesProperties(t *testing.T) {
	var out bytes.Buffer
	report.NewGitHub(&out, "").Event(report.Event{Kind: report.Warning, Message: "50% done\nreally", File: "a,b:c.yaml", Line: 7})
	assert.Equal(t, "::warning title=aksflow,file=a%2Cb%3Ac.yaml,line=7::50%25 done%0Areally\n", out.String())
}

func TestWithoutASinkEventsGoNowhere(t *testing.T) {
	report.Info(context.Background(), "unheard")
}

func TestSeconds(t *testing.T) {
	assert.Equal(t, "0.4 s", report.Seconds(400*time.Millisecond))
	assert.Equal(t, "2 m 05 s", report.Seconds(125*time.Second))
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	report.Table(&out, []string{"step", "status", "seconds"}, [][]string{{"build", "done", "1.2"}, {"publish", "unchanged", "0.1"}})
	assert.Equal(t, "STEP      STATUS      SECONDS\nbuild     done        1.2\npublish   unchanged   0.1\n", out.String())
}

func TestAgo(t *testing.T) {
	for seconds, want := range map[int]string{5: "just now", 60: "1 minute ago", 7300: "2 hours ago", 3 * 86400: "3 days ago"} {
		assert.Equal(t, want, report.Ago(time.Duration(seconds)*time.Second))
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour: "1h",
		24 * time.Hour: "24h", 61 * time.Minute: "1h1m", time.Hour + 10*time.Second: "1h0m10s", 1500 * time.Millisecond: "1.5s",
		-time.Minute: "-1m",
	} {
		assert.Equal(t, want, report.Span(d))
	}
}
