package flow

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/flow/resolve"
)

// promoteStep is the step in place of build, test and publish where the image comes from another environment.
const promoteStep = "promote"

// Promote brings what the environment before runs and proved to this one. It builds nothing, and does not ask what is checked
// out.
func (d *Delivery) Promote(ctx context.Context) (*Result, error) {
	env, err := d.Environment()
	if err != nil {
		return nil, err
	}
	if env.From == "" {
		return nil, fault.Usagef("%s is not promoted from another environment: name one with environments.%s.from in %s, or deliver there", env.Name, env.Name, d.config.Path())
	}
	d.byHand = true
	return d.Deliver(ctx)
}

// promoteSteps are the steps that bring the image of the environment before to this one.
func (d *Delivery) promoteSteps() []delivery.Step {
	return []delivery.Step{{
		Name: promoteStep, About: "from " + d.env.From, Changes: true,
		Check: func(ctx context.Context) error {
			if d.Tarball != "" {
				return fault.Usagef("%s gets what %s runs, and no file: leave out that of `aksflow deliver --image`", d.env.Name, d.env.From)
			}
			_, err := d.registry(ctx)
			return err
		},
		Run: d.promote,
	}}
}

// candidate is an image on its way from one environment to the next.
type candidate struct {
	evidence.Candidate
	from       *Delivery         // opened for the environment that it comes from
	repository *image.Repository // of from
	keyTags    []string          // that record the image for the source that is checked out
}

// promote takes what the environment before runs, if it proved there and the gates are open.
func (d *Delivery) promote(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
	c, err := d.candidate(ctx)
	if err != nil {
		return delivery.Outcome{}, err
	}
	if d.ProvedByHand != "" {
		if err := c.proveByHand(ctx, d.ProvedByHand); err != nil {
			return delivery.Outcome{}, err
		}
		if c.Verdict, c.Found, err = d.Judge(ctx, c.repository, c.Image.Digest); err != nil {
			return delivery.Outcome{}, err
		}
	}
	if err := c.Check(d.env.Name); err != nil {
		return delivery.Outcome{}, err
	}
	if err := d.sameSource(ctx, c); err != nil {
		return delivery.Outcome{}, err
	}
	if c.Verdict == nil {
		d.sayUnverified(ctx)
	}
	detail := &delivery.Promoted{
		Image: ref.Ref{Repository: d.env.Repository, Digest: c.Image.Digest}.String(), Digest: c.Image.Digest, From: c.from.env.Name,
		Source: delivery.Source{Commit: c.Record.Commit, Key: c.Record.SourceKey},
		Proof:  evidence.Describe(c.Record), Unverified: c.Verdict == nil, Gates: []gate.Verdict{},
	}
	if err := d.throughGates(ctx, c, detail); err != nil {
		return delivery.Outcome{Detail: detail}, err
	}
	s.Release.Image, s.Release.Published = ref.Ref{Repository: d.env.Repository, Digest: c.Image.Digest, Tag: c.Image.Tag}, true
	if version := gitflow.Tag(s.Release.Version); len(detail.Tags) > 0 && detail.Tags[0] == version {
		s.Release.Image.Tag = version
	} else {
		s.Release.Version = c.Image.Tag
	}
	s.Release.Source, s.Release.Evidence, s.Release.Note = detail.Source, c.Markdown(detail), noteOf(detail)
	out := delivery.Outcome{Detail: detail, Summary: fmt.Sprintf("%s, %s", detail.Image, detail.Proof)}
	if !detail.Copied {
		out.Status = delivery.Unchanged
	}
	return out, nil
}

// throughGates brings the image to the environment's repository, if the gates are open or somebody who may opens them.
func (d *Delivery) throughGates(ctx context.Context, c *candidate, detail *delivery.Promoted) error {
	var err error
	if d.env.Gates.Soak > 0 {
		if c.Health, err = c.from.target.Health(ctx, c.from.env, c.Running); err != nil {
			return fmt.Errorf("whether %s is healthy is not known: %w", c.from.env.Name, err)
		}
	}
	facts := c.Facts(time.Now())
	if facts.Approvals, err = d.approvals(ctx, c); err != nil {
		return err
	}
	detail.Gates = append(detail.Gates, d.env.Gates.Check(facts)...)
	record, err := d.passGates(ctx, c, detail)
	if err != nil {
		return err
	}
	return d.bring(ctx, c, detail, record)
}

// candidate finds what the environment before runs, and what is known about it.
func (d *Delivery) candidate(ctx context.Context) (*candidate, error) {
	from, err := d.sibling(ctx, d.env.From)
	if err != nil {
		return nil, err
	}
	c := &candidate{from: from, Candidate: evidence.Candidate{From: from.env.Name}}
	if c.Running, err = from.target.Current(ctx, from.env); err != nil {
		return nil, fmt.Errorf("what %s runs is not known: %w", from.env.Name, err)
	}
	running := ref.Read(c.Running.Image)
	if running.Digest == "" {
		return nil, fmt.Errorf("%s runs no image of %s that was delivered by its digest: deliver there first", from.env.Name, from.env.App)
	}
	c.Image = ref.Ref{Repository: from.env.Repository, Tag: running.Tag, Digest: running.Digest}
	if c.repository, err = from.open(ctx, image.ReadOnly); err != nil {
		return nil, err
	}
	c.Verdict, c.Found, err = d.Judge(ctx, c.repository, c.Image.Digest)
	return c, err
}

// sibling opens another environment of the same configuration.
func (d *Delivery) sibling(ctx context.Context, name string) (*Delivery, error) {
	r := d.Request
	r.Env, r.ByRef, r.Image, r.Tarball, r.Commit = name, false, "", "", ""
	r.Set = resolve.Settings{}
	other, err := open(ctx, r, d.targets)
	if err != nil {
		return nil, fmt.Errorf("the environment %s: %w", name, err)
	}
	if other.env.RegistryLogin == nil && ref.Read(other.env.Repository).Host() == ref.Read(d.env.Repository).Host() {
		other.env.RegistryLogin = d.env.RegistryLogin
	}
	return other, nil
}

// sameSource wants that the image was built from what is checked out, unless somebody promotes by hand.
func (d *Delivery) sameSource(ctx context.Context, c *candidate) error {
	if d.byHand {
		return nil
	}
	source, err := d.source(ctx)
	if err != nil {
		return err
	}
	if source.Dirty {
		return fmt.Errorf("the work tree has changes that are not committed, so it is not what %s runs: commit them, or promote what %s runs with `aksflow promote --to %s`",
			c.from.env.Name, c.from.env.Name, d.env.Name)
	}
	builder := c.from
	for builder.env.From != "" { // its variables and build arguments are those of the build
		if builder, err = d.sibling(ctx, builder.env.From); err != nil {
			return err
		}
	}
	here, err := builder.lookUp(ctx)
	if err != nil {
		return err
	}
	if c.Record.SourceKey != "" && here.sourceKey() == c.Record.SourceKey {
		if here.digest == c.Image.Digest && builder.env.Repository == c.Image.Repository {
			c.keyTags = []string{here.tag}
		}
		return nil
	}
	runs := fmt.Sprintf("%s runs an image of commit %.12s (source key %.12s)", c.from.env.Name, cmp.Or(c.Record.Commit, "unknown"), cmp.Or(c.Record.SourceKey, "unknown"))
	return fmt.Errorf("%s has another source: %s is at commit %.12s (source key %.12s), and %s: deliver this source to %s first, or promote what it runs with `aksflow promote --to %s`",
		d.env.Name, cmp.Or(d.Ref, "what is checked out"), source.Commit, here.sourceKey(), runs, c.from.env.Name, d.env.Name)
}

// bring copies the image where the environment has a repository of its own, records there what record says unless that is nil,
// and gives it the tags of a release.
func (d *Delivery) bring(ctx context.Context, c *candidate, detail *delivery.Promoted, record attachTo) error {
	to, err := d.open(ctx, image.ReadWrite)
	if err != nil {
		return err
	}
	if d.env.Repository != c.Image.Repository {
		if detail.Copied, err = image.Copy(ctx, c.repository, to, c.Image.Digest, c.keyTags...); err != nil {
			return err
		}
	}
	if record != nil {
		if err := record(ctx, to); err != nil {
			return fmt.Errorf("the override is not recorded, so nothing is promoted: %w", err)
		}
	}
	var tags, fixed []string
	switch {
	case !d.byHand && gitflow.IsRelease(d.gitRef, d.Decision.Version):
		tags, fixed = d.Decision.Tags, []string{gitflow.Tag(d.Decision.Version)}
	case d.env.Repository != c.Image.Repository && c.Image.Tag != "":
		tags = []string{c.Image.Tag} // registries delete digests without a tag
	}
	tags = slices.Concat(tags, d.Tags)
	if len(tags) == 0 {
		return nil
	}
	detail.Tags = tags
	tagged, err := to.Tag(ctx, c.Image.Digest, image.TagOptions{Tags: tags, Fixed: fixed})
	detail.Copied = detail.Copied || tagged
	return err
}
