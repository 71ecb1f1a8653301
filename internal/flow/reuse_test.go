package flow

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/proof"
)

// fakeEngine stands for an engine whose builds come out different each time.
type fakeEngine struct {
	t             *testing.T
	built, tested atomic.Int32
	fail          atomic.Bool
	same          bool // each build makes the same image
}

func (e *fakeEngine) build(_ context.Context, _ delivery.Source, tarball string, annotations map[string]string) (string, error) {
	e.built.Add(1)
	var options []random.Option
	if e.same {
		options = append(options, random.WithSource(rand.NewSource(1)))
	}
	img, err := random.Image(100, 1, options...)
	require.NoError(e.t, err)
	dir := e.t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	require.NoError(e.t, err)
	require.NoError(e.t, l.AppendImage(img, layout.WithAnnotations(annotations)))
	if tarball != "" {
		file, err := os.Create(tarball)
		require.NoError(e.t, err)
		w := tar.NewWriter(file)
		require.NoError(e.t, w.AddFS(os.DirFS(dir)))
		require.NoError(e.t, errors.Join(w.Close(), file.Close()))
	}
	digest, err := img.Digest()
	return digest.String(), err
}

func (e *fakeEngine) test(_ context.Context, _ delivery.Source, tarball string) (*build.Results, error) {
	e.tested.Add(1)
	if _, err := image.Open(tarball); err != nil {
		return nil, err
	}
	adds := build.Case{Suite: build.Unit, Class: "sums", Name: "adds 1.5", Status: build.Passed}
	later := build.Case{Suite: build.Unit, Class: "sums", Name: "later", Status: build.Skipped}
	shows := build.Case{Suite: build.Integration, Class: "page", Name: "shows", Status: build.Passed}
	results := &build.Results{Suites: []build.SuiteResult{
		{Name: build.Unit, Cases: []build.Case{later, adds}}, {Name: build.Integration, Cases: []build.Case{shows}},
	}}
	if e.fail.Load() {
		adds.Status = build.Failed
		results.Suites[0].Cases[1] = adds
		return results, &build.TestFailure{Failed: []build.Case{adds}, Total: 3}
	}
	return results, nil
}

// source is a repository with an app, tests, and an environment on a registry in this process.
type source struct {
	*repository
	host   string
	refuse atomic.Int32 // the status of requests for a key's tag; 0: none is refused
}

func newSource(t *testing.T) *source {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := &source{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if code := s.refuse.Load(); code != 0 && strings.HasPrefix(filepath.Base(req.URL.Path), keyTag) {
			w.WriteHeader(int(code))
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	s.base("base:1")
	s.repository = newRepository(t)
	s.write("aksflow.yaml", fmt.Sprintf(`app: vote
build: {context: app, target: runtime}
test: {unit: {target: test}}
environments:
  dev: {branches: [develop], tags: ["v*"], registry: %s, manifests: manifests}
`, s.host))
	s.write("app/Dockerfile", fmt.Sprintf("FROM %[1]s/base:1 AS test\nCOPY tests tests\nCOPY src src\nFROM %[1]s/base:1 AS runtime\nCOPY src src\n", s.host))
	s.write("app/src/main", "1")
	s.write("app/tests/test", "1")
	s.commit()
	return s
}

// base pushes a new base image.
func (s *source) base(named string) {
	img, err := random.Image(100, 1)
	if err == nil {
		var ref name.Reference
		if ref, err = name.ParseReference(s.host + "/" + named); err == nil {
			err = remote.Write(ref, img)
		}
	}
	if err != nil {
		panic(err)
	}
}

// deliver delivers from a fresh clone, as a runner does that knows nothing.
func (s *source) deliver(e *fakeEngine, change func(*Request)) (*Result, error) {
	s.t.Helper()
	clone := filepath.Join(s.t.TempDir(), "clone")
	require.NoError(s.t, os.CopyFS(clone, os.DirFS(s.dir)))
	return s.deliverFrom(clone, e, change)
}

func (s *source) deliverFrom(dir string, e *fakeEngine, change func(*Request)) (*Result, error) {
	s.t.Helper()
	r := Request{
		Config: filepath.Join(dir, "aksflow.yaml"), Ref: "refs/heads/develop", ByRef: true, User: "ann@laptop",
		Variables: func(string) (string, bool) { return "", false }, Keys: s.t.TempDir(),
	}
	if change != nil {
		change(&r)
	}
	d, err := open(s.t.Context(), r, []namedTarget{{"push", fake{}}})
	require.NoError(s.t, err)
	d.engine = e
	result, err := d.Deliver(report.With(s.t.Context(), report.SinkFunc(func(report.Event) {})))
	require.NoError(s.t, d.Close())
	return result, err
}

func TestUnchangedSourceIsNotBuiltAgain(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	first, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.NotEmpty(t, first.Source.Key)

	second, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Equal(t, first.Image, second.Image)
	assert.Equal(t, map[string]delivery.Status{"build": "unchanged", "test": "unchanged", "publish": "unchanged"}, statuses(second))
	assert.False(t, second.Changed)
	assert.EqualValues(t, 1, e.built.Load())
	assert.EqualValues(t, 1, e.tested.Load())

	s.write("app/tests/test", "2")
	s.commit()
	third, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Contains(t, third.Image, digestOf(first.Image), "a change of a test builds nothing")
	assert.EqualValues(t, 1, e.built.Load())
	assert.EqualValues(t, 2, e.tested.Load())
	_, err = s.deliver(e, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2, e.tested.Load(), "the new tests are recorded, too")

	_, err = s.deliver(e, func(r *Request) { r.Retest = true })
	require.NoError(t, err)
	assert.EqualValues(t, 1, e.built.Load())
	assert.EqualValues(t, 3, e.tested.Load())

	e.fail.Store(true)
	red, err := s.deliver(e, func(r *Request) { r.Retest = true })
	require.Error(t, err)
	assert.Empty(t, red.Image, "the image that fails the tests is no result, though the registry has it")
	e.fail.Store(false)

	s.write("app/src/main", "2")
	s.commit()
	fourth, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.NotEqual(t, digestOf(first.Image), digestOf(fourth.Image))
	assert.NotEqual(t, first.Source.Key, fourth.Source.Key)
	assert.EqualValues(t, 2, e.built.Load())
}

func digestOf(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return digest
}

// Tests that passed before are reported as they ran, and as what they are.
func TestRememberedTestsAreReported(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	ran, err := s.deliver(e, func(r *Request) { r.RunURL = "https://ci.example/1" })
	require.NoError(t, err)
	dir := t.TempDir()
	again, err := s.deliver(e, func(r *Request) { r.Reports = dir })
	require.NoError(t, err)
	assert.EqualValues(t, 1, e.tested.Load())
	first, second := testedIn(ran), testedIn(again)
	assert.Equal(t, first.Tests, second.Tests, "the same tests in the same order")
	assert.Equal(t, first.Summary, second.Summary)
	assert.True(t, second.Reused)
	assert.Equal(t, "https://ci.example/1", second.RunURL)
	require.Equal(t, []string{filepath.Join(dir, "unit.xml"), filepath.Join(dir, "integration.xml")}, second.Reports)
	unit, err := os.ReadFile(second.Reports[0])
	require.NoError(t, err)
	assert.Contains(t, string(unit), `<testcase classname="sums" name="adds 1.5">`)
	assert.Contains(t, string(unit), `<property name="aksflow.run" value="https://ci.example/1">`)
}

func testedIn(r *Result) *delivery.Tested {
	for _, step := range r.Steps {
		if tested, ok := step.Detail.(*delivery.Tested); ok {
			return tested
		}
	}
	return nil
}

// A proof that another version wrote has the tests' names only.
func TestNamesOfTests(t *testing.T) {
	results := evidence.Remembered(&proof.TestResult{PassedTests: []string{"unit: sums.adds", "shows: all"}, WarnedTests: []string{"integration: later"}})
	assert.Equal(t, []build.Case{
		{Suite: build.Unit, Name: "sums.adds", Status: build.Passed}, {Suite: build.Unit, Name: "shows: all", Status: build.Passed},
		{Suite: build.Integration, Name: "later", Status: build.Skipped},
	}, results.Cases())
}

func TestRebuildRaisesTheGeneration(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	first, err := s.deliver(e, nil)
	require.NoError(t, err)
	second, err := s.deliver(e, func(r *Request) { r.Rebuild = true })
	require.NoError(t, err)
	assert.NotEqual(t, first.Image, second.Image)
	assert.Equal(t, first.Source.Key, second.Source.Key, "it is the same source")
	third, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Equal(t, second.Image, third.Image, "the newest generation is used from then on")
	assert.EqualValues(t, 2, e.built.Load())

	s.base("base:1")
	fourth, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.NotEqual(t, third.Image, fourth.Image, "a base that moved")
	assert.Equal(t, first.Source.Key, fourth.Source.Key)
}

// Tests that failed leave nothing behind that a later run could take for a success.
func TestFailedTestsRecordNothing(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	e.fail.Store(true)
	_, err := s.deliver(e, nil)
	require.Error(t, err)
	e.fail.Store(false)
	r, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Equal(t, delivery.Done, statuses(r)["test"])
	assert.EqualValues(t, 2, e.built.Load())
}

func TestDirtySourceIsNeverReused(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	first, err := s.deliver(e, nil)
	require.NoError(t, err)
	s.write("README", "not committed, and not in the image")
	s.write("app/src/more", "not committed")
	for n := range int32(2) {
		r, err := s.deliver(e, nil)
		require.NoError(t, err)
		assert.NotEqual(t, first.Image, r.Image)
		assert.EqualValues(t, 2+n, e.built.Load())
	}
}

// A pull request may come from anybody: what it builds is nobody's record.
func TestPullRequestsRecordNothing(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	request := func(r *Request) { r.Ref, r.Env = "refs/pull/7/merge", "dev" }
	for n := range int32(2) {
		_, err := s.deliver(e, request)
		require.NoError(t, err)
		assert.EqualValues(t, n+1, e.built.Load())
	}
	_, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 3, e.built.Load())
}

// Only 404 means that the registry has no image of the source.
func TestARegistryThatRefusesIsNoMiss(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	for _, code := range []int32{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		s.refuse.Store(code)
		r, err := s.deliver(e, nil)
		require.ErrorContains(t, err, "src-", code)
		assert.Equal(t, delivery.Failed, statuses(r)["build"])
		assert.Zero(t, e.built.Load())
	}
}

// What is recorded for a source never changes by itself.
func TestAChangedRecordIsAnError(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	keys := t.TempDir()
	keep := func(r *Request) { r.Keys = keys }
	first, err := s.deliver(e, keep)
	require.NoError(t, err)
	tags, err := remote.List(must(name.NewRepository(s.host + "/vote")))
	require.NoError(t, err)
	planted, err := random.Image(100, 1)
	require.NoError(t, err)
	for _, tag := range tags {
		if strings.HasPrefix(tag, keyTag) {
			require.NoError(t, remote.Write(must(name.ParseReference(s.host+"/vote:"+tag)), planted))
		}
	}
	digest, err := planted.Digest()
	require.NoError(t, err)
	_, err = s.deliver(e, keep)
	require.ErrorContains(t, err, "was the image "+digestOf(first.Image)+", and is "+digest.String()+" now")
	assert.EqualValues(t, 1, e.built.Load())
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// The tag of a release stays where it is.
func TestReleasesDoNotMove(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	release := func(r *Request) { r.Ref = "refs/tags/v1.2.0" }
	first, err := s.deliver(e, release)
	require.NoError(t, err)
	_, err = s.deliver(e, release)
	require.NoError(t, err)
	s.base("base:1")
	_, err = s.deliver(e, release)
	require.ErrorContains(t, err, "vote:1.2.0 is the image "+digestOf(first.Image))
	_, err = s.deliver(e, nil)
	require.NoError(t, err, "a branch moves")
}

// Two runners that build one source at once take one image, and the tests of both are attached to it or to their own.
func TestTwoRunnersAtOnce(t *testing.T) {
	const races = 50
	s := newSource(t)
	all := new(errgroup.Group)
	all.SetLimit(8) // races at a time: with all of them at once, the processors decide how late a write is
	for n := range races {
		s.write("app/src/main", fmt.Sprint("race ", n))
		s.commit()
		clone := filepath.Join(t.TempDir(), "clone")
		require.NoError(t, os.CopyFS(clone, os.DirFS(s.dir)))
		all.Go(func() error {
			e := &fakeEngine{t: t}
			var images [2]string
			var both sync.WaitGroup
			for i := range 2 {
				both.Go(func() {
					r, err := s.deliverFrom(clone, e, nil)
					if assert.NoError(t, err) {
						images[i] = digestOf(r.Image)
					}
				})
			}
			both.Wait()
			assert.Equal(t, images[0], images[1], "race %d", n)
			built := e.built.Load()
			r, err := s.deliverFrom(clone, e, nil)
			if assert.NoError(t, err) {
				assert.Equal(t, images[0], digestOf(r.Image))
				assert.Equal(t, delivery.Unchanged, statuses(r)["test"], "the proof of its tests is there")
			}
			assert.Equal(t, built, e.built.Load())
			return nil
		})
	}
	require.NoError(t, all.Wait())
}

// step runs one step from a fresh clone, and returns what it told.
func (s *source) step(e *fakeEngine, name, file, gitRef string) (r *Result, told string) {
	s.t.Helper()
	clone := filepath.Join(s.t.TempDir(), "clone")
	require.NoError(s.t, os.CopyFS(clone, os.DirFS(s.dir)))
	d, err := open(s.t.Context(), Request{
		Config: filepath.Join(clone, "aksflow.yaml"), Ref: gitRef, ByRef: true, Tarball: file,
		Variables: func(string) (string, bool) { return "", false },
	}, []namedTarget{{"push", fake{}}})
	require.NoError(s.t, err)
	d.engine = e
	recorder := report.NewRecorder(report.SinkFunc(func(report.Event) {}))
	r, err = d.Step(report.With(s.t.Context(), recorder), name)
	require.NoError(s.t, err)
	require.NoError(s.t, d.Close())
	for _, event := range recorder.Events() {
		told += event.Message + "\n"
	}
	return r, told
}

// An image that one job builds into a file and another one publishes is remembered for its source, if the file says what that is
// and it is the source that the other job has.
func TestAFileIsRememberedForItsSource(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	const feature, develop = "refs/heads/feature/a", "refs/heads/develop"
	file, second := filepath.Join(t.TempDir(), "vote.tar"), filepath.Join(t.TempDir(), "second.tar")
	s.step(e, "build", file, feature) // for no environment
	s.step(e, "build", second, develop)
	require.EqualValues(t, 2, e.built.Load())
	published, told := s.step(e, "publish", file, develop)
	assert.NotContains(t, told, "remember")
	assert.NotEmpty(t, published.Source.Key)

	again, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Equal(t, digestOf(published.Image), digestOf(again.Image))
	assert.EqualValues(t, 2, e.built.Load(), "it is not built again")
	assert.EqualValues(t, 1, e.tested.Load(), "nobody has tested it")

	other, told := s.step(e, "publish", second, develop)
	assert.NotEqual(t, digestOf(published.Image), digestOf(other.Image), "what is published is what was given")
	assert.Contains(t, told, "the registry remembers another image of this source, "+digestOf(published.Image))

	pulled := filepath.Join(t.TempDir(), "pulled.tar")
	s.step(e, "build", pulled, develop)
	assert.EqualValues(t, 2, e.built.Load())
	_, told = s.step(e, "publish", pulled, develop)
	assert.NotContains(t, told, "remember")

	s.write("app/src/main", "2")
	s.commit()
	_, told = s.step(e, "publish", file, develop)
	assert.Contains(t, told, "not remembered for its source, and the next delivery builds it again: vote.tar was built of another source, base or build arguments")
	s.step(e, "build", file, develop)
	s.write("app/src/main", "not committed")
	_, told = s.step(e, "publish", file, develop)
	assert.Contains(t, told, "not remembered for its source, and the next delivery builds it again: the work tree has changes that are not committed")
	s.step(e, "build", file, develop)
	s.commit()
	_, told = s.step(e, "publish", file, develop)
	assert.Contains(t, told, "vote.tar does not say what it was built of")
}

func TestPlanReadsTheSourceOnce(t *testing.T) {
	s := newSource(t)
	config, err := os.ReadFile(filepath.Join(s.dir, "aksflow.yaml"))
	require.NoError(t, err)
	s.write("aksflow.yaml", strings.Replace(string(config), "{context: app, ", "{context: ., dockerfile: app/Dockerfile, ", 1))
	s.write("app/Dockerfile", "FROM scratch AS test\nCOPY . .\nFROM scratch AS runtime\nCOPY . .\n")
	s.commit()
	d, err := open(t.Context(), Request{Config: s.dir + "/aksflow.yaml", Ref: "refs/heads/develop", ByRef: true,
		Variables: func(string) (string, bool) { return "", false }}, []namedTarget{{"push", fake{}}})
	require.NoError(t, err)
	warnings := 0
	p, err := d.Plan(report.With(t.Context(), report.SinkFunc(func(e report.Event) {
		if strings.Contains(e.Message, ".git into .dockerignore") {
			warnings++
		}
	})))
	require.NoError(t, err)
	assert.NotEmpty(t, p.BuildKey)
	assert.Equal(t, 1, warnings)
}

func TestPlanShowsTheKeys(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	plan := func() *Plan {
		t.Helper()
		d, err := open(t.Context(), Request{Config: s.dir + "/aksflow.yaml", Ref: "refs/heads/develop", ByRef: true, Explain: true,
			Variables: func(string) (string, bool) { return "", false }}, []namedTarget{{"push", fake{}}})
		require.NoError(t, err)
		p, err := d.Plan(t.Context())
		require.NoError(t, err)
		return p
	}
	p := plan()
	assert.Len(t, p.BuildKey, 64)
	assert.Len(t, p.SourceKey, 64)
	assert.Nil(t, p.Recorded)
	delivered, err := s.deliver(e, nil)
	require.NoError(t, err)
	p = plan()
	require.NotNil(t, p.Recorded)
	assert.Equal(t, digestOf(delivered.Image), p.Recorded.Digest)
	assert.Contains(t, p.Recorded.String(), "built just now, 2 passed, 1 skipped, unverified")
	var names []string
	for _, entry := range p.Explain {
		names = append(names, string(entry.Kind)+" "+entry.Name)
	}
	assert.Subset(t, names, []string{"file src/main", "image " + s.host + "/base:1", "stage runtime", "test stage unit"})
	assert.NotContains(t, names, "file tests/test")
}
