package flow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/proof"
)

// proofs returns what is attached to an image, as far as it counts for the environment. Something attached that cannot be read
// is an error, and not an absence.
func (d *Delivery) proofs(ctx context.Context, repository *image.Repository, digest string) (*proof.Found, error) {
	rules, err := d.keyring().Rules()
	if err != nil {
		return nil, err
	}
	found, err := proof.List(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	if rules == nil && d.env.Sign != nil {
		// Others will ask for what was signed here. Who cannot sign here takes what there is.
		if signer, err := d.keyring().Signer(ctx); err == nil {
			found = found.By(signer)
		}
	}
	if rules != nil {
		found.Proofs = slices.DeleteFunc(found.Proofs, func(p proof.Proof) bool {
			_, err := rules.Verify(p)
			return err != nil
		})
	}
	return found, found.Err()
}

// testResults returns the test results of an image that count, the newest first.
func (d *Delivery) testResults(ctx context.Context, repository *image.Repository, digest string) ([]proof.TestResult, error) {
	found, err := d.proofs(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	return found.Tests()
}

// ofThisSource returns when the image that is recorded for the source was built; the zero time when that is not known. In an
// environment with verify, an image without trusted provenance for this source is an error.
func (d *Delivery) ofThisSource(ctx context.Context, repository *image.Repository, k *known) (built time.Time, err error) {
	found, err := d.proofs(ctx, repository, k.digest)
	if err != nil {
		return built, err
	}
	statements, err := found.Provenance()
	if err != nil {
		return built, err
	}
	for _, s := range statements {
		if s.BuildDefinition.InternalParameters.BuildKey == k.image.Build {
			return s.RunDetails.Metadata.FinishedOn, nil
		}
	}
	if d.env.Verify.Asks() {
		return built, fmt.Errorf("%s:%s is recorded as the image of this source, and there is no provenance that says so by anyone whom environments.%s.verify trusts: find out who wrote the tag; `aksflow deliver --rebuild` builds the source again", d.env.Repository, k.tag, d.env.Name)
	}
	return built, nil
}
