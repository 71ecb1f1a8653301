package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/key"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/kube"
)

// sample is a copy of the sample app with its aksflow.yaml.
func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "app"), os.DirFS("../../app")))
	text, err := os.ReadFile("../../aksflow.yaml")
	require.NoError(t, err)
	write(t, filepath.Join(dir, "aksflow.yaml"), string(text))
	return dir
}

// sources reads what the files of a copy bring.
func sources(t *testing.T, dir string) build.Sources {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, "aksflow.yaml"))
	require.NoError(t, err)
	context := filepath.Join(dir, "app")
	files, err := key.Read(context, cfg.Build.Dockerfile, "")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(context, cfg.Build.Dockerfile))
	require.NoError(t, err)
	of, err := build.SourcesOf(t.Context(), cfg, build.KeyInputs{Context: files, Dockerfile: text})
	require.NoError(t, err)
	return of
}

// change rewrites a file of a copy.
func change(t *testing.T, name, from, to string) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(text), from)
	write(t, name, strings.Replace(string(text), from, to, 1))
}

// What a save of the sample makes due.
func TestDue(t *testing.T) {
	all := []flow.Part{flow.Build, flow.Unit, flow.Integration, flow.Publish}
	for name, test := range map[string]struct {
		file, from, to string
		want           []flow.Part
	}{
		"a file of the app":       {"app/vote/app.py", "front end", "front", all},
		"its server's settings":   {"app/gunicorn.conf.py", "threads = 8", "threads = 4", []flow.Part{flow.Build, flow.Integration, flow.Publish}},
		"a unit test":             {"app/tests/unit/test_app.py", "import", "import os\nimport", []flow.Part{flow.Unit}},
		"an integration test":     {"app/tests/integration/test_vote.py", "import", "import os\nimport", []flow.Part{flow.Integration}},
		"how tests are run":       {"app/pytest.ini", "[pytest]", "[pytest]\n# all of them", []flow.Part{flow.Unit, flow.Integration}},
		"a comment in Dockerfile": {"app/Dockerfile", "# Unit tests", "# The unit tests", nil},
		"a stage of a service":    {"app/Dockerfile", "--protected-mode no", "--protected-mode no --loglevel verbose", []flow.Part{flow.Integration}},
		"the stage of the image":  {"app/Dockerfile", "ENV PORT=8080", "ENV PORT=8081", []flow.Part{flow.Build, flow.Integration, flow.Publish}},
		"the stage below all":     {"app/Dockerfile", "PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=0", all},
		"settings of tests":       {"aksflow.yaml", "port: 8080", "port: 8081", []flow.Part{flow.Integration}},
		"what no build sees":      {"app/README.md", "", "about the app", nil},
		"what Python leaves":      {"app/vote/__pycache__/app.pyc", "", "compiled", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := sample(t)
			s := &Session{passed: map[string]bool{}}
			before := sources(t, dir)
			require.Equal(t, all, s.due(before), "at first all is due")
			s.built = built{source: before.Image, published: ref.Read("localhost:5000/vote@sha256:0")}
			for _, suite := range []flow.Part{flow.Unit, flow.Integration} {
				s.note(before, suite, ran(delivery.Test{Suite: string(suite), Status: string(build.Passed)}))
			}
			require.Empty(t, s.due(before), "nothing has changed")
			path := filepath.Join(dir, test.file)
			if test.from == "" {
				write(t, path, test.to)
			} else {
				change(t, path, test.from, test.to)
			}
			after := sources(t, dir)
			assert.Equal(t, test.want, s.due(after))
			if test.want == nil {
				assert.Equal(t, before, after)
			}
		})
	}
}

// ran is the result of a run that tested.
func ran(tests ...delivery.Test) *flow.Result {
	return &flow.Result{Steps: []flow.StepResult{{Detail: &delivery.Tested{Tests: tests}}}}
}

// What failed is due again, what passed is not, also after going back to it.
func TestDueAfterAFailure(t *testing.T) {
	t.Parallel()
	s := &Session{passed: map[string]bool{}}
	one, two := build.Sources{Image: "1", Unit: "u1", Integration: "i1"}, build.Sources{Image: "2", Unit: "u1", Integration: "i1"}
	test := func(suite flow.Part, status build.Status) delivery.Test {
		return delivery.Test{Suite: string(suite), Status: string(status)}
	}
	s.built = built{source: "1"}
	s.note(one, flow.Unit, ran(test(flow.Unit, build.Passed)))
	s.note(one, flow.Integration, ran(test(flow.Integration, build.Passed), test(flow.Integration, build.Failed)))
	assert.Equal(t, []flow.Part{flow.Integration, flow.Publish}, s.due(one))
	s.note(one, flow.Integration, ran(test(flow.Integration, build.Error)))
	s.note(one, flow.Integration, ran())
	assert.Equal(t, []flow.Part{flow.Integration, flow.Publish}, s.due(one), "a suite without a test has not passed")
	s.note(one, flow.Integration, ran(test(flow.Integration, build.Passed), test(flow.Integration, build.Skipped)))
	s.built.published = ref.Read("localhost:5000/vote@sha256:0")
	assert.Empty(t, s.due(one))
	assert.Equal(t, []flow.Part{flow.Build, flow.Integration, flow.Publish}, s.due(two))
	s.built = built{source: "2", published: s.built.published}
	assert.Equal(t, []flow.Part{flow.Build, flow.Publish}, s.due(one), "going back tests nothing again")
}

// Unit tests belong to the preparation that began them until its candidate is there, and then to the session. A newer candidate
// ends those of one that nobody brought.
func TestUnitTestsInTheBackground(t *testing.T) {
	s, err := NewSession("mine")
	require.NoError(t, err)
	untilItEnds := func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	begin := func() (*testRun, context.CancelFunc) {
		ctx, end := context.WithCancel(t.Context())
		return s.start(ctx, untilItEnds), end
	}

	r, end := begin()
	end()
	require.ErrorIs(t, r.wait(t.Context()), context.Canceled, "the preparation ended")

	replaced, end := begin()
	replaced.detach()
	end()
	s.replaceReady(&Candidate{tarball: "one", unit: replaced})
	r, end = begin()
	defer end()
	r.detach()
	s.replaceReady(&Candidate{tarball: "two", unit: r})
	require.ErrorIs(t, replaced.wait(t.Context()), ErrNewer)
	assert.Equal(t, "two", s.next)

	bringing, stop := context.WithCancel(t.Context())
	stop()
	require.ErrorIs(t, r.wait(bringing), context.Canceled, "what is brought ended")

	passed := s.start(t.Context(), func(context.Context) error { return nil })
	require.NoError(t, passed.wait(t.Context()))
	moved := s.start(t.Context(), func(context.Context) error { return fmt.Errorf("tests: %w", errMoved) })
	require.NoError(t, moved.wait(t.Context()), "the newer save tests it")

	r, end = begin()
	defer end()
	r.detach()
	require.NoError(t, s.Close())
	require.ErrorIs(t, r.wait(t.Context()), context.Canceled, "the session is closed")
}

func TestNamespace(t *testing.T) {
	for user, want := range map[string]string{
		"me@laptop": "vote-dev-me", "First.Last@host": "vote-dev-first-last", "@host": "vote-dev-me", "": "vote-dev-me",
		strings.Repeat("long", 30) + "@host": "vote-dev-" + strings.Repeat("long", 30)[:54],
	} {
		assert.Equal(t, want, Namespace("vote", user), user)
	}
}

func TestShortName(t *testing.T) {
	for _, test := range []struct{ pod, container, want string }{
		{"vote-7d4f9c6b58-x2x4z", "vote", "vote-x2x4z"},
		{"redis-0", "redis", "redis-0"},
		{"vote-7d4f9c6b58-x2x4z", "proxy", "vote-x2x4z/proxy"},
		{"my-web-app-7d4f9c6b58-x2x4z", "my-web-app", "my-web-app-x2x4z"},
		{"one-two-three", "one", "one-two-three"},
	} {
		assert.Equal(t, test.want, shortName(kube.LogLine{Pod: test.pod, Container: test.container}))
	}
}
