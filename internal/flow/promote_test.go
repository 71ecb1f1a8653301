package flow

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/target"
)

// places is a target that remembers what was deployed to each environment.
type places struct {
	fake
	running         map[string]target.Running
	before          map[string]string // images
	fails           error
	health          target.Health
	notes, evidence map[string]string // of what was deployed to each environment
}

func newPlaces() *places {
	return &places{running: map[string]target.Running{}, before: map[string]string{}, notes: map[string]string{}, evidence: map[string]string{}}
}

func (p *places) Health(context.Context, *delivery.Environment, target.Running) (target.Health, error) {
	return p.health, nil
}

func (p *places) Steps(r delivery.Release, _ target.Options) ([]delivery.Step, error) {
	return []delivery.Step{{Name: "deploy", Changes: true, Needs: []string{"publish"}, Run: func(_ context.Context, s *delivery.State) (delivery.Outcome, error) {
		if p.fails != nil {
			return delivery.Outcome{}, p.fails
		}
		p.before[r.Env.Name] = p.running[r.Env.Name].Image
		p.running[r.Env.Name] = target.Running{Image: s.Release.Image.String(), Since: time.Now()}
		p.notes[r.Env.Name], p.evidence[r.Env.Name] = s.Release.Note, s.Release.Evidence
		return delivery.Outcome{Detail: &delivery.Deployed{Revision: 1}}, nil
	}}}, nil
}

func (p *places) Current(_ context.Context, env *delivery.Environment) (target.Running, error) {
	return p.running[env.Name], nil
}

func (p *places) Rollback(_ context.Context, r delivery.Release, _ string, _ target.Options) (delivery.Outcome, error) {
	if p.before[r.Env.Name] == "" {
		return delivery.Outcome{}, errors.New("there is nothing before")
	}
	p.running[r.Env.Name] = target.Running{Image: p.before[r.Env.Name]}
	return delivery.Outcome{Detail: &delivery.Deployed{Revision: 2}}, nil
}

// chain is a repository with staging and production, which has a registry of its own.
type chain struct {
	*repository
	*places
	host   string
	tamper atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler) bool] // answers in place of the registry
}

func newChain(t *testing.T, gates string) *chain {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	c := &chain{repository: newRepository(t)}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if tamper := c.tamper.Load(); tamper == nil || !(*tamper)(w, req, images) {
			images.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(server.Close)
	c.host = strings.TrimPrefix(server.URL, "http://")
	c.places = newPlaces()
	c.write("aksflow.yaml", "app: vote\nbuild: {context: app}\nenvironments:\n"+
		"  staging: {branches: [\"release/*\"], registry: "+c.host+"/staging, manifests: m}\n"+
		"  production: {branches: [main], tags: [\"v*\"], from: staging, registry: "+c.host+"/production, manifests: m"+gates+"}\n")
	c.write("app/Dockerfile", "FROM scratch\nCOPY . /\n")
	c.commit()
	return c
}

func (c *chain) request(change func(*Request)) *Delivery {
	c.t.Helper()
	r := Request{
		Config: filepath.Join(c.dir, "aksflow.yaml"), User: "ann@laptop",
		Variables: func(string) (string, bool) { return "", false },
	}
	change(&r)
	d, err := open(c.t.Context(), r, []namedTarget{{"push", c.places}})
	require.NoError(c.t, err)
	return d
}

// deployed puts an image into staging's repository and delivers it there; it returns the digest.
func (c *chain) deployed() string {
	c.t.Helper()
	img, err := random.Image(100, 1)
	require.NoError(c.t, err)
	digest, err := img.Digest()
	require.NoError(c.t, err)
	to, err := name.ParseReference(c.host + "/staging/vote@" + digest.String())
	require.NoError(c.t, err)
	require.NoError(c.t, remote.Write(to, img))
	d := c.request(func(r *Request) { r.Env = "staging"; r.Image = to.String() })
	source, err := d.source(c.t.Context())
	require.NoError(c.t, err)
	keys, err := d.keys(c.t.Context(), source)
	require.NoError(c.t, err)
	repo, err := d.open(c.t.Context(), image.ReadWrite)
	require.NoError(c.t, err)
	_, err = repo.Tag(c.t.Context(), digest.String(), image.TagOptions{Tags: []string{keyTag + keys.image.Build}})
	require.NoError(c.t, err)
	result, err := d.Step(c.t.Context(), "deploy")
	require.NoError(c.t, err)
	assert.Equal(c.t, map[string]delivery.Status{"deploy": "done", "prove": "done"}, statuses(result))
	return digest.String()
}

func (c *chain) promote(change func(*Request)) (*Result, error) {
	c.t.Helper()
	return c.request(func(r *Request) { r.Env = "production"; change(r) }).Promote(c.t.Context())
}

func none(*Request) {}

func TestPromote(t *testing.T) {
	c := newChain(t, "")
	_, err := c.promote(none)
	require.ErrorContains(t, err, "staging runs no image of vote that was delivered by its digest: deliver there first")

	digest := c.deployed()
	result, err := c.promote(none)
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(result.Image).Digest)
	assert.Equal(t, c.host+"/production/vote@"+digest, result.Image)
	assert.Equal(t, map[string]delivery.Status{"promote": "done", "deploy": "done", "prove": "done"}, statuses(result))
	promoted := result.Steps[0].Detail.(*delivery.Promoted)
	assert.True(t, promoted.Copied)
	assert.Contains(t, promoted.Proof, "proved in staging at ")

	// The records travel with the image.
	production := c.request(func(r *Request) { r.Env = "production" })
	for environment, want := range map[string]int{"staging": 1, "production": 1} {
		records, err := production.records(t.Context(), digest, environment)
		require.NoError(t, err)
		assert.Len(t, records, want, environment)
	}

	again, err := c.promote(none)
	require.NoError(t, err)
	assert.Equal(t, map[string]delivery.Status{"promote": "unchanged", "deploy": "done", "prove": "unchanged"}, statuses(again))
}

func TestDeliverWantsTheSameSource(t *testing.T) {
	c := newChain(t, "")
	digest := c.deployed()
	deliver := func() (*Result, error) {
		return c.request(func(r *Request) { r.ByRef, r.Ref = true, "refs/tags/v1.2.0" }).Deliver(t.Context())
	}
	result, err := deliver()
	require.NoError(t, err)
	assert.Equal(t, digest, ref.Read(result.Image).Digest)
	assert.Equal(t, "1.2.0", ref.Read(result.Image).Tag)

	c.write("app/main.py", "changed")
	commit := c.commit()
	_, err = deliver()
	require.ErrorContains(t, err, "production has another source: refs/tags/v1.2.0 is at commit "+commit[:12])
	require.ErrorContains(t, err, "`aksflow promote --to production`")
	c.deployed()
	_, err = deliver()
	require.ErrorContains(t, err, "the tag of a release does not move")

	c.write("app/main.py", "not committed")
	_, err = deliver()
	require.ErrorContains(t, err, "has changes that are not committed")
}

func TestWithdrawnImagesAreNotPromoted(t *testing.T) {
	c := newChain(t, "")
	first, second := c.deployed(), c.deployed()
	_, err := c.promote(none)
	require.NoError(t, err)
	c.before["production"] = c.host + "/production/vote@" + first
	back, err := c.request(func(r *Request) { r.Env = "staging" }).RollbackChain(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, back.Environments, 2)
	assert.Equal(t, []delivery.Status{"done", "done"}, []delivery.Status{back.Environments[0].Status, back.Environments[1].Status})
	assert.Equal(t, first, ref.Read(c.running["staging"].Image).Digest)
	assert.Equal(t, first, ref.Read(c.running["production"].Image).Digest)

	c.running["staging"] = target.Running{Image: c.host + "/staging/vote@" + second}
	_, err = c.promote(none)
	require.ErrorContains(t, err, second+" was withdrawn from staging at ")
	require.ErrorContains(t, err, "rolled back by ann@laptop")
	result, err := c.promote(func(r *Request) { r.ProvedByHand = "tried again" })
	require.NoError(t, err)
	assert.Contains(t, result.Steps[0].Detail.(*delivery.Promoted).Proof, "by hand: tried again")

	// An environment that runs something else by now stays.
	c.running["staging"] = target.Running{Image: c.host + "/staging/vote@" + first}
	c.before["staging"] = c.host + "/staging/vote@" + second
	back, err = c.request(func(r *Request) { r.Env = "staging" }).RollbackChain(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, delivery.Unchanged, back.Environments[1].Status)
	assert.Equal(t, second, ref.Read(c.running["production"].Image).Digest)
}

func TestAFailedDeliveryWithdraws(t *testing.T) {
	c := newChain(t, "")
	digest := c.deployed()
	staging := func() *Delivery {
		return c.request(func(r *Request) { r.Env = "staging"; r.Image = c.host + "/staging/vote@" + digest })
	}
	newest := func() proof.Record {
		records, err := staging().records(t.Context(), digest, "staging")
		require.NoError(t, err)
		return records[0]
	}
	c.fails = errors.New("the cluster does not answer")
	_, err := staging().Step(t.Context(), "deploy")
	require.Error(t, err)
	assert.Equal(t, proof.StatusProved, newest().Status, "nothing is known about the image")

	c.fails = delivery.WithReasons(errors.New("it crashed"), []delivery.Reason{{Object: "Deployment/vote", Reason: "CrashLoopBackOff"}})
	_, err = staging().Step(t.Context(), "deploy")
	require.Error(t, err)
	assert.Equal(t, proof.StatusWithdrawn, newest().Status)
	assert.Equal(t, "its delivery failed: Deployment/vote: CrashLoopBackOff", newest().Reason)
}

func TestGatesClose(t *testing.T) {
	c := newChain(t, ", gates: {soak: 30m, freeze: [{from: \"2020-01-01\", to: \"2020-01-02\"}]}")
	digest := c.deployed()
	result, err := c.promote(none)
	require.ErrorContains(t, err, "production is not open for "+digest[:19]+": soak: healthy in staging for ")
	require.ErrorContains(t, err, " of 30m: opens at ")
	assert.Empty(t, c.running["production"].Image)
	require.NotNil(t, result)
	gates := result.Steps[0].Detail.(*delivery.Promoted).Gates
	require.Len(t, gates, 2)
	assert.False(t, gates[0].Open)
	assert.True(t, gates[1].Open)
	assert.Equal(t, delivery.Skipped, result.Steps[1].Status)

	c.health.Problem = "Deployment/vote: it crashes"
	_, err = c.promote(none)
	require.ErrorContains(t, err, "soak: staging is not healthy: Deployment/vote: it crashes")
}

func TestWhatCannotBePromoted(t *testing.T) {
	c := newChain(t, "")
	_, err := c.request(func(r *Request) { r.Env = "staging" }).Promote(t.Context())
	require.ErrorContains(t, err, "staging is not promoted from another environment: name one with environments.staging.from")
	_, err = c.request(func(r *Request) { r.Env = "production"; r.Tarball = "vote.tar" }).Deliver(t.Context())
	require.ErrorContains(t, err, "production gets what staging runs, and no file: leave out that of `aksflow deliver --image`")

	// Without a record, nothing is assumed.
	img, err := random.Image(100, 1)
	require.NoError(t, err)
	digest, err := img.Digest()
	require.NoError(t, err)
	to, err := name.ParseReference(c.host + "/staging/vote@" + digest.String())
	require.NoError(t, err)
	require.NoError(t, remote.Write(to, img))
	c.running["staging"] = target.Running{Image: to.String()}
	_, err = c.promote(none)
	require.ErrorContains(t, err, "there is no record that it proved there")
}
