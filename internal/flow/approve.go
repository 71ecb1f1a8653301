package flow

import (
	"context"
	"fmt"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/flow/reviews"
	"github.com/aksflow/aksflow/internal/proof"
)

// attachTo attaches a statement that is signed to its image in a repository.
type attachTo = func(context.Context, *image.Repository) error

// signWord signs what a person says about an image. It is refused at once where the signature would not count.
func (d *Delivery) signWord(ctx context.Context, t proof.Trust, c *candidate, word proof.Predicate, may string) (who string, attach attachTo, err error) {
	signer, err := d.keyring().SignerAs(ctx, d.SignAs)
	if err != nil {
		return "", nil, err
	}
	if signer == nil {
		return "", nil, fault.Usagef("there is nothing to sign with: name a private key with --key, sign as this CI run with --keyless, or set environments.%s.sign in %s", d.env.Name, d.config.Path())
	}
	if who, attach, err = t.Sign(ctx, c.repository, c.Image.Digest, signer, word); err != nil {
		return "", nil, fmt.Errorf("%s: signed with %s: %w", may, signer.Name(), err)
	}
	return who, attach, nil
}

// Approve signs that an image may be promoted to the environment, or with revoke that it may not any more: the image of the
// request, or what the environment before runs.
func (d *Delivery) Approve(ctx context.Context, reason string, revoke bool) (*delivery.Approved, error) {
	env, err := d.Environment()
	if err != nil {
		return nil, err
	}
	if env.Gates.Approve == nil || env.Gates.Approve.Signed == nil {
		return nil, fault.Usagef("%s asks for no signed approval: name who may approve with environments.%s.gates.approve.signed.by in %s", env.Name, env.Name, d.config.Path())
	}
	trust, err := d.keyring().Approvers()
	if err != nil {
		return nil, err
	}
	c, err := d.approved(ctx)
	if err != nil {
		return nil, err
	}
	word := proof.Approval{
		Environment: env.Name, Decision: proof.Approved, Time: time.Now().UTC(), By: d.User, Reason: reason, RunURL: d.RunURL,
	}
	if revoke {
		word.Decision = proof.Revoked
	}
	who, attach, err := d.signWord(ctx, trust, c, word, "who may approve for "+env.Name+" does not include you")
	if err != nil {
		return nil, err
	}
	to, err := c.from.open(ctx, image.ReadWrite)
	if err == nil {
		err = attach(ctx, to)
	}
	if err != nil {
		return nil, err
	}
	out := &delivery.Approved{
		Environment: env.Name, Image: c.Image.String(), Digest: c.Image.Digest, Decision: word.Decision, By: who, Time: word.Time, Reason: reason,
	}
	report.Info(ctx, "%s for %s by %s: %s", word.Decision, env.Name, who, c.Image)
	return out, nil
}

// approved finds the image that is approved.
func (d *Delivery) approved(ctx context.Context) (*candidate, error) {
	if d.image == (ref.Ref{}) {
		return d.candidate(ctx)
	}
	from, err := d.sibling(ctx, d.env.From)
	if err != nil {
		return nil, err
	}
	c := &candidate{from: from, Candidate: evidence.Candidate{From: from.env.Name, Image: d.image}}
	if d.image.Repository != from.env.Repository {
		return nil, fault.Usagef("--image %s: %s gets its images from %s, whose repository is %s", d.image, d.env.Name, from.env.Name, from.env.Repository)
	}
	if c.repository, err = from.open(ctx, image.ReadOnly); err != nil {
		return nil, err
	}
	if c.Image.Digest == "" {
		digest, ok, err := c.repository.Digest(ctx, c.Image.Tag)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s has no tag %s: check the name", c.Image.Repository, c.Image.Tag)
		}
		c.Image.Digest = digest
	}
	return c, nil
}

// approvals are what is known about each way to approve that the environment asks for.
func (d *Delivery) approvals(ctx context.Context, c *candidate) (map[string]gate.Approvals, error) {
	known := map[string]gate.Approvals{}
	if d.env.Gates.Approve == nil {
		return known, nil
	}
	asking := reviews.Job{Source: d.outside(), Network: d.env.Network}
	for _, way := range d.env.Gates.Approve.Ways() {
		var found gate.Approvals
		var err error
		switch way {
		case gate.ByGitHub:
			found, err = asking.OfRun(ctx, d.env.Gates.Approve.GitHub)
		case gate.ByPullRequest:
			found, err = d.reviewed(ctx, asking, c)
		default:
			found, err = d.signedApprovals(ctx, c)
		}
		switch {
		case err != nil && d.Override != "" && way != gate.BySigned && ctx.Err() == nil: // a git host that is down is no reason to wait in an emergency
			found = gate.Approvals{Against: []string{"it is not known: " + err.Error()}, How: "the git host has to answer"}
		case err != nil:
			return nil, fmt.Errorf("whether %s may get the image is not known: gates.approve.%s: %w", d.env.Name, way, err)
		}
		known[way] = found
	}
	return known, nil
}

// reviewed are the approvals of the pull request that brought the image's commit.
func (d *Delivery) reviewed(ctx context.Context, asking reviews.Job, c *candidate) (gate.Approvals, error) {
	if c.Record.Commit == "" {
		return gate.Approvals{How: fmt.Sprintf("the commit of the image is not known, so no pull request is: deliver it to %s from a clone of its source", c.From)}, nil
	}
	return asking.OfCommit(ctx, d.config.Dir(), c.Record.Commit)
}

// signedApprovals are those that stand on the image. One that was given before the image was withdrawn from the environment
// does not count.
func (d *Delivery) signedApprovals(ctx context.Context, c *candidate) (gate.Approvals, error) {
	trust, err := d.keyring().Approvers()
	if err != nil {
		return gate.Approvals{}, err
	}
	counted, ignored, err := trust.Approvals(c.Found, d.env.Name)
	if err != nil {
		return gate.Approvals{}, err
	}
	withdrawn, err := d.withdrawnAt(ctx, c)
	if err != nil {
		return gate.Approvals{}, err
	}
	out := gate.Approvals{Ignored: ignored, How: fmt.Sprintf("%s may approve, with `aksflow approve --env %s --image %s@%s`",
		gate.Or(d.env.Gates.Approve.Signed.By), d.env.Name, c.Image.Repository, c.Image.Digest)}
	for _, a := range counted {
		if a.Time.Before(withdrawn) {
			out.Ignored = append(out.Ignored, fmt.Sprintf("that of %s is from before the image was withdrawn from %s", a.Signer, d.env.Name))
			continue
		}
		out.Given = append(out.Given, gate.Approval{By: a.Signer, Time: a.Time, Reason: a.Reason})
	}
	return out, nil
}

// withdrawnAt returns when the image was withdrawn from the environment last; the zero time when it was not. Anybody's record
// withdraws.
func (d *Delivery) withdrawnAt(ctx context.Context, c *candidate) (time.Time, error) {
	all := []*proof.Found{c.Found}
	if d.env.Repository != c.Image.Repository {
		own, err := d.open(ctx, image.ReadOnly)
		if err != nil {
			return time.Time{}, err
		}
		if _, ok, err := own.Digest(ctx, c.Image.Digest); err != nil {
			return time.Time{}, err
		} else if ok {
			there, err := proof.List(ctx, own, c.Image.Digest)
			if err == nil {
				err = there.Err()
			}
			if err != nil {
				return time.Time{}, err
			}
			all = append(all, there)
		}
	}
	var last time.Time
	for _, found := range all {
		records, err := found.Records(d.env.Name)
		if err != nil {
			return last, err
		}
		for _, r := range records {
			if r.Status == proof.StatusWithdrawn && r.Time.After(last) {
				last = r.Time
			}
		}
	}
	return last, nil
}
