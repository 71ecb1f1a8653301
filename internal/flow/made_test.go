package flow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

// plan says what a delivery from a fresh clone would do.
func (s *source) plan() *Plan {
	s.t.Helper()
	d := s.handedOver(nil)
	p, err := d.Plan(s.t.Context())
	require.NoError(s.t, err)
	require.NoError(s.t, d.Close())
	return p
}

// handedOver opens a delivery of what another program made; nil stands for nothing yet.
func (s *source) handedOver(made *build.Made) *Delivery {
	s.t.Helper()
	clone := filepath.Join(s.t.TempDir(), "clone")
	require.NoError(s.t, os.CopyFS(clone, os.DirFS(s.dir)))
	r := Request{
		Config: filepath.Join(clone, "aksflow.yaml"), Ref: "refs/heads/develop", ByRef: true, User: "ann@laptop",
		Variables: func(string) (string, bool) { return "", false }, Keys: s.t.TempDir(),
	}
	if made != nil {
		named := *made
		named.Tarball = filepath.Base(made.Tarball)
		text, err := json.Marshal(named)
		require.NoError(s.t, err)
		file := filepath.Join(filepath.Dir(made.Tarball), "made.json")
		require.NoError(s.t, os.WriteFile(file, text, 0o600))
		r.Made, err = ReadMade(file)
		require.NoError(s.t, err)
	}
	d, err := open(s.t.Context(), r, []namedTarget{{"push", fake{}}})
	require.NoError(s.t, err)
	return d
}

// make makes an image as another program does, for what a plan says.
func (s *source) make(e *fakeEngine, p *Plan) *build.Made {
	s.t.Helper()
	m := &build.Made{Tarball: filepath.Join(s.t.TempDir(), "image.tar"), Images: p.Images, Took: map[string]time.Duration{"build": time.Minute}}
	_, err := e.build(s.t.Context(), delivery.Source{}, m.Tarball, nil)
	require.NoError(s.t, err)
	m.Results, err = e.test(s.t.Context(), delivery.Source{}, m.Tarball)
	require.NoError(s.t, err)
	return m
}

func (s *source) deliverMade(m *build.Made) (*Result, error) {
	s.t.Helper()
	d := s.handedOver(m)
	result, err := d.Deliver(report.With(s.t.Context(), report.SinkFunc(func(report.Event) {})))
	require.NoError(s.t, d.Close())
	return result, err
}

// What another program built and tested is recorded as what this one did.
func TestHandedOver(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	first, err := s.deliverMade(s.make(e, s.plan()))
	require.NoError(t, err)
	assert.Equal(t, map[string]delivery.Status{"build": "done", "test": "done", "publish": "done"}, statuses(first))
	assert.GreaterOrEqual(t, first.Steps[0].Seconds, 60.0)

	second, err := s.deliver(e, nil)
	require.NoError(t, err)
	assert.Equal(t, first.Image, second.Image)
	assert.Equal(t, map[string]delivery.Status{"build": "unchanged", "test": "unchanged", "publish": "unchanged"}, statuses(second))
	assert.EqualValues(t, 1, e.built.Load())
	p := s.plan()
	require.NotNil(t, p.Recorded)
	assert.Equal(t, "2 passed, 1 skipped", p.Recorded.Tests)

	// Another run recorded its image while this one was made, with tests that it passed.
	third, err := s.deliverMade(s.make(e, p))
	require.NoError(t, err)
	assert.Equal(t, first.Image, third.Image)

	// The tests are others now, and did not run on the image that is recorded.
	s.write("app/tests/test", "2")
	s.commit()
	_, err = s.deliverMade(s.make(e, s.plan()))
	assert.ErrorContains(t, err, "did not pass these tests")
	assert.ErrorContains(t, err, "--rebuild")
}

// An image that was made before its base moved is delivered, and recorded for no key.
func TestHandedOverFromAnotherBase(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	made := s.make(e, s.plan())
	s.base("base:1")
	first, err := s.deliverMade(made)
	require.NoError(t, err)
	assert.Contains(t, first.Image, "@sha256:")
	assert.Nil(t, s.plan().Recorded)
}

// Publish builds, tests and pushes without a file, and only what the registry lacks.
func TestPublishWithoutAFile(t *testing.T) {
	s, e := newSource(t), &fakeEngine{t: t}
	publish := func() *Result {
		d := s.handedOver(nil)
		d.engine = e
		r, err := d.Publish(report.With(t.Context(), report.SinkFunc(func(report.Event) {})))
		require.NoError(t, err)
		require.NoError(t, d.Close())
		return r
	}
	first, second := publish(), publish()
	assert.Equal(t, first.Image, second.Image)
	assert.EqualValues(t, 1, e.built.Load())
	assert.EqualValues(t, 1, e.tested.Load())
}
