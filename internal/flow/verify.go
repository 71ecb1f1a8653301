package flow

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/proof"
)

// Verify says all that is known about an image: what is attached to it and, where there is an environment that verifies, what
// counts there. The result is there also when the environment refuses the image.
func (d *Delivery) Verify(ctx context.Context) (*delivery.Verified, error) {
	if d.image.Repository == "" || d.image.Host() == "" {
		return nil, fault.Usagef("which image? Name it as HOST/REPOSITORY@sha256:… or HOST/REPOSITORY:TAG")
	}
	registry, err := d.registry(ctx)
	if err != nil {
		return nil, err
	}
	repository, err := registry.Open(ctx, d.image.Repository, image.ReadOnly)
	if err != nil {
		return nil, err
	}
	img := d.image
	if img.Tag != "" {
		digest, ok, err := repository.Digest(ctx, img.Tag)
		if err != nil {
			return nil, err
		}
		if !ok && img.Digest == "" {
			return nil, fmt.Errorf("%s has no tag %s: check the name", img.Repository, img.Tag)
		}
		if ok && img.Digest != "" && digest != img.Digest {
			return nil, fmt.Errorf("the tag %s stands for %s, and not for %s", img.Tag, digest, img.Digest)
		}
		if img.Digest == "" {
			img.Digest = digest
		}
	}
	return d.examine(ctx, repository, img)
}

// attachedTimeout bounds how long what is attached to an image is read for a report of the run.
const attachedTimeout = 10 * time.Second

// Attached returns what is attached to an image of the environment's repository, for a report of the run. It is nil where there
// is no such image.
func (d *Delivery) Attached(ctx context.Context, name string) (*delivery.Verified, error) {
	img := ref.Read(name)
	if d.env == nil || img.Digest == "" || img.Repository != d.env.Repository {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attachedTimeout)
	defer cancel()
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return nil, err
	}
	if _, ok, err := repository.Digest(ctx, img.Digest); err != nil || !ok {
		return nil, err
	}
	attached, err := d.examine(ctx, repository, img)
	if attached != nil {
		return attached, nil // with what the environment refuses in it
	}
	return nil, err
}

// examine says what is attached to an image, in the order in which it came about, and what counts in an environment that
// verifies. The result is there also when the environment refuses the image.
func (d *Delivery) examine(ctx context.Context, repository *image.Repository, img ref.Ref) (*delivery.Verified, error) {
	verdict, found, err := d.Judge(ctx, repository, img.Digest)
	if err != nil {
		return nil, err
	}
	out := &delivery.Verified{Image: img.String(), Digest: img.Digest, Environment: d.env.Name, Proofs: []delivery.Proof{}}
	for i, p := range found.Proofs {
		one := delivery.Proof{Kind: string(p.Kind), Referrer: p.Referrer, Signed: p.Claimed(), Says: proof.Summary(p), Time: proof.Made(p)}
		if verdict != nil {
			one.By, one.Why = verdict.Proofs[i].By, text(verdict.Proofs[i].Why)
		}
		if err := d.judgeWord(p, &one); err != nil {
			return nil, err
		}
		out.Proofs = append(out.Proofs, one)
	}
	slices.SortStableFunc(out.Proofs, func(a, b delivery.Proof) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Time.Compare(b.Time), strings.Compare(a.Kind, b.Kind))
	})
	for _, p := range found.Problems {
		out.Problems = append(out.Problems, p.Err.Error())
	}
	if verdict == nil {
		return out, found.Err()
	}
	out.Verified = len(verdict.Refused) == 0
	for _, r := range verdict.Refused {
		out.Refused = append(out.Refused, r.Error())
	}
	if err := verdict.Err(); err != nil {
		return out, fmt.Errorf("%s refuses %s: %w", d.env.Name, img, err)
	}
	return out, nil
}

// text is an error's text; "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// judgeWord says whether an approval or an override counts, which those decide whom the gates of the environment list.
func (d *Delivery) judgeWord(p proof.Proof, one *delivery.Proof) error {
	word := p.PredicateType == proof.ApprovalType || p.PredicateType == proof.OverrideType
	if !word || d.env.Name == "" {
		return nil
	}
	trust, err := d.keyring().Trust(p.Kind)
	if err != nil {
		return err
	}
	who, why := trust.Verify(p)
	one.By, one.Why = who, text(why)
	return nil
}

// rank orders proofs as they come about: an image is built, then tested, then delivered.
func rank(p delivery.Proof) int {
	kinds := []proof.Kind{proof.Provenance, proof.SBOM, proof.Test}
	if i := slices.Index(kinds, proof.Kind(p.Kind)); i >= 0 {
		return i
	}
	return len(kinds)
}
