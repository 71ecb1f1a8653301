package flow

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/proof/sbom"
)

// attest attaches the provenance and the SBOM of an image, unless they are there. It returns the kinds that it attached.
func (d *Delivery) attest(ctx context.Context, s *delivery.State) ([]string, error) {
	registry, err := d.registry(ctx)
	if err != nil {
		return nil, err
	}
	repository, err := registry.Open(ctx, d.env.Repository, image.ReadWrite)
	if err != nil {
		return nil, err
	}
	signer, err := d.keyring().Signer(ctx)
	if err != nil {
		return nil, err
	}
	digest := s.Release.Image.Digest
	found, err := proof.List(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	own := found.By(signer)
	var attached []string
	var predicates []proof.Predicate
	add := func(kind proof.Kind, p proof.Predicate) {
		attached, predicates = append(attached, string(kind)), append(predicates, p)
	}
	if !own.Has(proof.SBOM) {
		report.Progressf(ctx, "sbom", "reading the packages of the image")
		doc, err := sbom.Of(s.Tarball, d.env.Repository, digest)
		if err != nil {
			return nil, err
		}
		for _, database := range doc.Unread {
			report.Warn(ctx, "the SBOM lacks the packages of %s, whose database is not read", database)
		}
		report.Progressf(ctx, "sbom", "%s", report.Count(doc.Packages, "package"))
		add(proof.SBOM, proof.SPDX(doc.JSON))
	}
	if !own.Has(proof.Provenance) {
		add(proof.Provenance, evidence.Provenance(d.config, s.Release, d.known.buildKey(), d.Ref))
	}
	if len(predicates) == 0 {
		return nil, nil
	}
	_, err = proof.Attach(ctx, repository, digest, signer, predicates...)
	if err == nil {
		by := "without a signature"
		if signer != nil {
			by = "signed with " + signer.Name()
		}
		report.Info(ctx, "attached to the image, %s: %s", by, strings.Join(attached, ", "))
	}
	return attached, err
}

// checkSigner checks before the work begins that there is what signs its proofs.
func (d *Delivery) checkSigner(ctx context.Context) error {
	_, err := d.keyring().Signer(ctx)
	return err
}

// verifying are the steps before which an image is verified.
var verifying = []string{"deploy", "bump", "wait"}

// verify refuses an image that lacks a proof which the environment asks for. It does nothing before other steps than those
// that bring an image to the environment, and where the environment asks for nothing.
func (d *Delivery) verify(ctx context.Context, step string, s *delivery.State) error {
	if d.env == nil || !d.env.Verify.Asks() || !slices.Contains(verifying, step) {
		return nil
	}
	img := s.Release.Image
	if img.Digest == "" || img.Repository == "" {
		return fault.Usagef("%s verifies what it runs (environments.%s.verify), and this %s names no image by its digest: want --image HOST/REPOSITORY@sha256:…", d.env.Name, d.env.Name, step)
	}
	registry, err := d.registry(ctx)
	if err != nil {
		return err
	}
	repository, err := registry.Open(ctx, img.Repository, image.ReadOnly)
	if err != nil {
		return err
	}
	if img.Tag != "" {
		now, ok, err := repository.Digest(ctx, img.Tag)
		if err != nil {
			return err
		}
		if ok && now != img.Digest {
			return fmt.Errorf("%s refuses %s: the tag %s has moved, to %s", d.env.Name, img, img.Tag, now)
		}
	}
	verdict, _, err := d.Judge(ctx, repository, img.Digest)
	if err != nil {
		return err
	}
	if err := verdict.Err(); err != nil {
		return fmt.Errorf("%s refuses %s: %w", d.env.Name, img, err)
	}
	report.Info(ctx, "verified for %s: %s", d.env.Name, strings.Join(d.env.Verify.Require, ", "))
	return nil
}

// Judge reads what is attached to an image, and applies the rules of the environment. The verdict is nil where it has none.
func (d *Delivery) Judge(ctx context.Context, repository *image.Repository, digest string) (*proof.Verdict, *proof.Found, error) {
	rules, err := d.keyring().Rules()
	if err != nil {
		return nil, nil, err
	}
	found, err := proof.List(ctx, repository, digest)
	if err != nil || rules == nil {
		return nil, found, err
	}
	return rules.Judge(found), found, nil
}
