package flow

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/proof"
)

// buildKey is the key of the image; "" when it is not known, or not to be used again.
func (k *known) buildKey() string {
	if k == nil || k.why != "" {
		return ""
	}
	return k.image.Build
}

// sourceKey is the part of the key that promotion compares; "" when the key is not known.
func (k *known) sourceKey() string {
	if k == nil {
		return ""
	}
	return k.image.Source
}

// engineGeneration is the generation for an engine, which remembers what it ran: "" runs what changed.
func (k *known) engineGeneration(rebuild bool) string {
	switch {
	case rebuild:
		return time.Now().UTC().Format(time.RFC3339)
	case k == nil || k.generation == firstGeneration:
		return ""
	}
	return k.generation
}

// take uses the image that the registry has for the source. It is pulled only when the caller wants a file of it.
func (d *Delivery) take(ctx context.Context, s *delivery.State, k *known) (delivery.Outcome, error) {
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return delivery.Outcome{}, err
	}
	built, err := d.ofThisSource(ctx, repository, k)
	if err != nil {
		return delivery.Outcome{}, err
	}
	summary := sayFound(ctx, k, built)
	d.sayUnverified(ctx)
	s.Release.Image, s.Release.Published = ref.Ref{Repository: d.env.Repository, Digest: k.digest}, true
	s.Release.Source.Key = k.sourceKey()
	if d.Tarball != "" {
		if err := repository.Pull(ctx, k.digest, d.Tarball, k.annotations()); err != nil {
			return delivery.Outcome{}, err
		}
	}
	return delivery.Outcome{Status: delivery.Unchanged, Summary: summary, Detail: &delivery.Built{
		Tarball: d.Tarball, Digest: k.digest, Revision: s.Release.Source.Revision(), Source: s.Release.Source, Reused: true,
	}}, nil
}

// toTest returns the tarball to test; "" for an image that is built for it. It is done, with an outcome, when the image passed
// the tests before.
func (d *Delivery) toTest(ctx context.Context, s *delivery.State) (tarball string, done *delivery.Outcome, err error) {
	if d.Tarball != "" {
		return d.Tarball, nil, nil
	}
	k, err := d.lookUp(ctx)
	if err != nil {
		return "", nil, err
	}
	if !k.found() {
		return s.Tarball, nil, nil
	}
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return "", nil, err
	}
	before, err := d.passedBefore(ctx, repository, k, k.digest)
	if err != nil {
		return "", nil, err
	}
	if before != nil {
		done, err := d.testedBefore(ctx, before)
		return "", done, err
	}
	tarball, err = d.pulled(ctx, repository, k.digest)
	return tarball, nil, err
}

// pulled returns a file with an image of the registry.
func (d *Delivery) pulled(ctx context.Context, repository *image.Repository, digest string) (string, error) {
	dir, err := d.scratch()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "pulled.tar")
	report.Info(ctx, "the image is taken from the registry, to be tested: %s", digest)
	return file, repository.Pull(ctx, digest, file, nil)
}

// passedBefore returns the result of the same tests that an image passed before; nil when there is none, or when it is not
// to be used.
func (d *Delivery) passedBefore(ctx context.Context, repository *image.Repository, k *known, digest string) (*proof.TestResult, error) {
	if d.Retest || k.tests.Build == "" {
		for _, why := range k.tests.Moving {
			report.Info(ctx, "the tests run again: %s", why)
		}
		return nil, nil
	}
	results, err := d.testResults(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	return evidence.PassedBy(results, k.tests.Build), nil
}

// unverified is what a run says that uses what the registry has without anybody's signature.
const unverified = "unverified: whoever may push to the registry could have recorded this image and its tests"

// sayUnverified says once that what the registry has was not verified.
func (d *Delivery) sayUnverified(ctx context.Context) {
	if !d.env.Verify.Asks() && !d.saidUnverified {
		d.saidUnverified = true
		report.Info(ctx, "%s", unverified)
	}
}

// testedBefore is the outcome of tests that an image passed in an earlier run.
func (d *Delivery) testedBefore(ctx context.Context, before *proof.TestResult) (*delivery.Outcome, error) {
	summary := fmt.Sprintf("%s %s; no test ran", evidence.Summary(*before), report.Ago(time.Since(before.Time)))
	report.Info(ctx, "this image passed these tests before: %s", summary)
	d.sayUnverified(ctx)
	out, err := d.tested(ctx, evidence.Remembered(before), nil)
	out.Status, out.Summary = delivery.Unchanged, summary
	detail := out.Detail.(*delivery.Tested)
	detail.Reused, detail.RunURL = true, before.URL
	return &out, err
}

// noteTests records tests that passed: at once for an image that the registry has, else when it is pushed.
func (d *Delivery) noteTests(ctx context.Context, s *delivery.State, results *build.Results) error {
	k, err := d.lookUp(ctx)
	if err != nil {
		return err
	}
	d.results = results
	if !k.found() || !s.Release.Published {
		return nil
	}
	repository, err := d.open(ctx, image.ReadWrite)
	if err != nil {
		return err
	}
	return d.recordTests(ctx, repository, k, k.digest)
}

// recordTests attaches the results of tests that passed to an image in the registry.
func (d *Delivery) recordTests(ctx context.Context, repository *image.Repository, k *known, digest string) error {
	if d.results == nil || k == nil || k.tests.Build == "" || k.why != "" || !d.mayRecord() {
		return nil
	}
	signer, err := d.keyring().Signer(ctx)
	if err != nil {
		return err
	}
	_, err = proof.Attach(ctx, repository, digest, signer, evidence.TestResult(k.tests.Build, d.RunURL, d.results))
	return err
}

// stillRecorded checks that the registry has the same image for the key of the source as when the run began.
func (d *Delivery) stillRecorded(ctx context.Context, repository *image.Repository, digest string) error {
	now, ok, err := repository.Digest(ctx, d.known.tag)
	if err != nil {
		return err
	}
	if !ok {
		now = "gone"
	}
	if now != digest {
		return d.changedKey(d.known, digest, now)
	}
	return nil
}

// push pushes the tarball, with the proofs of how it was built and tested, and records it for the key of the source. It returns
// the digest of the image that is recorded: of several runs that build a source at once, all take the same.
func (d *Delivery) push(ctx context.Context, s *delivery.State, repository *image.Repository) (digest string, attached []string, unchanged bool, err error) {
	registry, err := d.registry(ctx)
	if err != nil {
		return "", nil, false, err
	}
	pushed, err := image.Push(ctx, image.Options{Tarball: s.Tarball, Repository: d.env.Repository, Registry: registry})
	if err != nil {
		return "", nil, false, err
	}
	s.Release.Image = ref.Ref{Repository: d.env.Repository, Digest: pushed.Digest}
	if d.Tarball != "" {
		if d.known, err = d.handed(ctx, s.Release.Source); err != nil {
			return "", nil, false, err
		}
		s.Release.Source.Key = d.known.sourceKey()
	}
	if !s.Release.Source.Dirty && d.mayRecord() {
		if err := d.recordTests(ctx, repository, d.known, pushed.Digest); err != nil {
			return "", nil, false, err
		}
		if attached, err = d.attest(ctx, s); err != nil {
			return "", nil, false, fmt.Errorf("the image is pushed, and its proofs are not attached: %w", err)
		}
	}
	recorded, err := d.record(ctx, s, repository, pushed.Digest)
	return recorded, attached, pushed.Unchanged && recorded == pushed.Digest, err
}

// record records the image that was just built and pushed for the key of the source, unless that must not be. It returns the
// image to deliver.
func (d *Delivery) record(ctx context.Context, s *delivery.State, repository *image.Repository, digest string) (string, error) {
	k := d.known
	if k == nil || k.why != "" || !d.mayRecord() {
		return digest, nil
	}
	moved, err := d.moved(ctx, k)
	if err != nil {
		return "", err
	}
	if moved = cmp.Or(moved, d.otherBases(k)); moved != "" {
		report.Warn(ctx, "the image is not recorded for its source, and the next delivery builds it again: %s", moved)
		return digest, nil
	}
	recorded, err := repository.Record(ctx, k.tag, digest)
	if err != nil {
		return "", err
	}
	if recorded != digest && d.Tarball != "" {
		report.Info(ctx, "the registry remembers another image of this source, %s, which the next delivery takes; this one is published as it is", recorded)
		d.known = nil
		return digest, nil
	}
	k.digest = recorded
	if recorded != digest {
		report.Info(ctx, "another run built this source at the same time: its image %s is used in place of %s", recorded, digest)
		if err := d.accept(ctx, s, repository, k, recorded); err != nil {
			return "", err
		}
		return recorded, d.remember(k)
	}
	registry, err := d.registry(ctx)
	if err != nil {
		return "", err
	}
	if locked, err := registry.Lock(ctx, d.env.Repository, k.tag); err != nil {
		return "", err
	} else if locked {
		report.Info(ctx, "the tag %s is locked", k.tag)
	}
	return recorded, d.remember(k)
}

// accept tests an image that another run built, unless it passed these tests.
func (d *Delivery) accept(ctx context.Context, s *delivery.State, repository *image.Repository, k *known, digest string) error {
	if _, err := d.ofThisSource(ctx, repository, k); err != nil || d.results == nil {
		return err // or no tests are configured
	}
	before, err := d.passedBefore(ctx, repository, k, digest)
	if err != nil || before != nil {
		return err
	}
	tarball, err := d.pulled(ctx, repository, digest)
	if err != nil {
		return err
	}
	results, err := d.engine.test(ctx, s.Release.Source, tarball)
	if err != nil {
		return err
	}
	d.results = results
	return d.recordTests(ctx, repository, k, digest)
}
