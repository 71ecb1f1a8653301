package flow

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/proof"
)

// proveStep is the step that records that a delivery ended well.
const proveStep = "prove"

// inChain reports whether images are promoted to or from the environment. What happens there is recorded then.
func (d *Delivery) inChain() bool {
	return d.env != nil && d.env.Name != "" && (d.env.From != "" || len(d.config.After(d.env.Name)) > 0)
}

// targetSteps are the steps of the environment's target. In an environment of a chain the last one is followed by the record
// that it ended well, and an image that fails loses the record that it had.
func (d *Delivery) targetSteps() ([]delivery.Step, error) {
	own, err := d.target.Steps(d.release(delivery.Source{}), d.Options)
	if err != nil || len(own) == 0 || !d.inChain() {
		return own, err
	}
	if d.env.From != "" {
		own[0].Needs = append(slices.Clone(own[0].Needs), promoteStep)
	}
	for i := range own {
		own[i].Run = d.asLink(own[i])
	}
	return append(own, d.proveStep(own[len(own)-1].Name)), nil
}

// proveStep is the step after the one that saw the image run.
func (d *Delivery) proveStep(after string) delivery.Step {
	return delivery.Step{
		Name: proveStep, About: "in " + d.env.Name, Needs: []string{after}, Changes: true,
		Run: func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) { return d.prove(ctx, s, after) },
	}
}

// proving is the i-th of a target's steps alone. In an environment of a chain the last one is followed by its record.
func (d *Delivery) proving(steps []delivery.Step, i int) []delivery.Step {
	if !d.inChain() {
		return []delivery.Step{steps[i]}
	}
	one := steps[i]
	one.Run = d.asLink(one)
	if i < len(steps)-1 {
		return []delivery.Step{one}
	}
	return []delivery.Step{one, d.proveStep(one.Name)}
}

// asLink is what a step does in a chain. It changes nothing where the end could not be signed. Its failure withdraws the
// image, if that failed by itself: if the cluster could not be reached, nothing is known about the image.
func (d *Delivery) asLink(step delivery.Step) func(context.Context, *delivery.State) (delivery.Outcome, error) {
	return func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
		if step.Changes {
			if err := d.canProve(ctx, s.Release.Image.Digest); err != nil {
				return delivery.Outcome{}, err
			}
		}
		out, err := step.Run(ctx, s)
		reasons := delivery.Reasons(err)
		if i := slices.IndexFunc(reasons, func(r delivery.Reason) bool { return r.Object != "" }); i >= 0 {
			d.withdraw(ctx, s.Release.Image.Digest, fmt.Sprintf("its delivery failed: %s: %s", reasons[i].Object, cmp.Or(reasons[i].Reason, reasons[i].Message)))
		}
		return out, err
	}
}

// canProve checks that there is what signs a record, unless the image has one.
func (d *Delivery) canProve(ctx context.Context, digest string) error {
	failed := d.checkSigner(ctx)
	if failed == nil || digest == "" {
		return nil
	}
	if before, err := d.provedBefore(ctx, digest); err != nil || before == nil {
		return failed
	}
	return nil
}

// provedBefore returns the record that the image proved in the environment; nil if it has none, or a later one says otherwise.
// It is one that was signed here, unless nothing can be signed here now.
func (d *Delivery) provedBefore(ctx context.Context, digest string) (*proof.Record, error) {
	found, err := d.attached(ctx, digest)
	if err != nil {
		return nil, err
	}
	all, err := found.Records(d.env.Name)
	if err != nil || len(all) == 0 || all[0].Status != proof.StatusProved {
		return nil, err
	}
	if signer, err := d.keyring().Signer(ctx); err == nil {
		found = found.By(signer)
	}
	own, err := found.Records(d.env.Name)
	if err != nil || len(own) == 0 || own[0].Status != proof.StatusProved {
		return nil, err
	}
	return &own[0], nil
}

// prove records that the image runs in the environment.
func (d *Delivery) prove(ctx context.Context, s *delivery.State, how string) (delivery.Outcome, error) {
	if s.PullRequest != "" {
		return delivery.Outcome{Status: delivery.Unchanged, Summary: "not proved yet: the pull request is open"}, nil
	}
	digest := s.Release.Image.Digest
	if digest == "" {
		return delivery.Outcome{Status: delivery.Unchanged, Summary: "not recorded: the image has no digest"}, nil
	}
	detail := &delivery.Proved{Environment: d.env.Name, Digest: digest, How: how}
	before, err := d.provedBefore(ctx, digest)
	if err != nil {
		return delivery.Outcome{Detail: detail}, err
	}
	record, err := d.provedFrom(ctx, s.Release, digest)
	if err != nil {
		return delivery.Outcome{Detail: detail}, err
	}
	if before != nil && (before.SourceKey == record.SourceKey || record.SourceKey == "") {
		detail.Unchanged = true
		return delivery.Outcome{Status: delivery.Unchanged, Detail: detail, Summary: "recorded before: " + evidence.Describe(*before)}, nil
	}
	record.Status, record.How = proof.StatusProved, how
	err = d.writeRecord(ctx, digest, record)
	return delivery.Outcome{Detail: detail, Summary: fmt.Sprintf("%.19s proved in %s", digest, d.env.Name)}, err
}

// proveCurrent records that what the environment runs now proved there, in an environment of a chain.
func (d *Delivery) proveCurrent(ctx context.Context, how string) error {
	if !d.inChain() {
		return nil
	}
	running, err := d.target.Current(ctx, d.env)
	if err != nil {
		return err
	}
	r := d.release(delivery.Source{})
	r.Image = ref.Read(running.Image)
	_, err = d.prove(ctx, &delivery.State{Release: r}, how)
	return err
}

// provedFrom is a record with the source of an image: as the run knows it, as the environment before recorded it, or that of
// the work tree if the registry has this image for it. Changes that are not committed have no source to compare with.
func (d *Delivery) provedFrom(ctx context.Context, r delivery.Release, digest string) (proof.Record, error) {
	record := proof.Record{SourceKey: r.Source.Key, Commit: r.Source.Commit, Ref: d.gitRef}
	switch {
	case d.env.From != "":
		records, err := d.records(ctx, digest, d.env.From)
		if err == nil && len(records) > 0 {
			record = proof.Record{SourceKey: records[0].SourceKey, Commit: records[0].Commit, Ref: records[0].Ref}
		}
		return record, err
	case r.Source.Dirty:
		record.SourceKey = ""
	case record.SourceKey == "":
		here, err := d.lookUp(ctx)
		if err != nil {
			return record, err
		}
		if here.found() && here.digest == digest {
			record.SourceKey = here.sourceKey()
		} else {
			record.Commit, record.Ref = "", "" // the image was not built from what is checked out, as far as is known
		}
	}
	return record, nil
}

// records returns what the environment's repository has recorded about an image in an environment, the newest first.
func (d *Delivery) records(ctx context.Context, digest, environment string) ([]proof.Record, error) {
	found, err := d.attached(ctx, digest)
	if err != nil {
		return nil, err
	}
	return found.Records(environment)
}

// attached returns what is attached to an image in the environment's repository. What cannot be read is an error.
func (d *Delivery) attached(ctx context.Context, digest string) (*proof.Found, error) {
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return nil, err
	}
	found, err := proof.List(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	return found, found.Err()
}

// writeRecord attaches a record of the environment to an image.
func (d *Delivery) writeRecord(ctx context.Context, digest string, r proof.Record) error {
	repository, err := d.open(ctx, image.ReadWrite)
	if err != nil {
		return err
	}
	signer, err := d.keyring().Signer(ctx)
	if err != nil {
		return err
	}
	r.Environment, r.Time, r.By, r.RunURL = d.env.Name, time.Now().UTC(), d.User, d.RunURL
	_, err = proof.Attach(ctx, repository, digest, signer, r)
	return err
}

// recordTimeout bounds what is recorded when a run is about to end.
const recordTimeout = 30 * time.Second

// withdraw records that an image did not prove after all. An image that never proved needs no record. What fails here is a
// warning, since there is an error already.
func (d *Delivery) withdraw(ctx context.Context, digest, reason string) {
	if digest == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	records, err := d.records(ctx, digest, d.env.Name)
	if err == nil && (len(records) == 0 || records[0].Status != proof.StatusProved) {
		return
	}
	if err == nil {
		record := proof.Record{Status: proof.StatusWithdrawn, Reason: reason}
		record.SourceKey, record.Commit, record.Ref = records[0].SourceKey, records[0].Commit, records[0].Ref
		err = d.writeRecord(ctx, digest, record)
	}
	if err != nil {
		report.Warn(ctx, "that %s is withdrawn from %s is not recorded, so it may still be promoted: %v", digest, d.env.Name, err)
		return
	}
	report.Info(ctx, "%.19s is withdrawn from %s: %s", digest, d.env.Name, reason)
}

// proveByHand records that a person says that the image proved, where no program saw it run.
func (c *candidate) proveByHand(ctx context.Context, reason string) error {
	record := proof.Record{Status: proof.StatusProved, How: "hand: " + reason, Commit: c.Running.Source}
	records, err := c.from.records(ctx, c.Image.Digest, c.from.env.Name)
	if err != nil {
		return err
	}
	if len(records) > 0 {
		record.SourceKey, record.Commit, record.Ref = records[0].SourceKey, records[0].Commit, records[0].Ref
	}
	return c.from.writeRecord(ctx, c.Image.Digest, record)
}
