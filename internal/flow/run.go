package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
)

// Result is what became of a run.
type Result struct {
	// Delivered reports that the environment runs the image now.
	Delivered   bool   `json:"delivered"`
	Environment string `json:"environment"` // "" when the run had none
	Target      string `json:"target,omitempty"`
	// Reason says why this environment, or why none.
	Reason string `json:"reason,omitempty"`

	Image   string          `json:"image"`
	Version string          `json:"version,omitempty"`
	Tags    []string        `json:"tags,omitempty"`
	Source  delivery.Source `json:"source"`

	// Commit is the one that the operator follows, and PullRequest where it is proposed; pull target only.
	Commit      string `json:"commit,omitempty"`
	PullRequest string `json:"pullRequest,omitempty"`
	// Revision is the number of the revision that the cluster runs or, if Held is set, of the one that waits for resume
	// or abort; push target only.
	Revision int  `json:"revision,omitempty"`
	Held     bool `json:"held,omitempty"`
	// RolledBack reports that the deploy failed and that what was there before is back.
	RolledBack bool `json:"rolledBack,omitempty"`

	// NotMergedBack is what the branch that was delivered has and develop lacks.
	NotMergedBack []git.Unmerged `json:"notMergedBack,omitempty"`

	Steps []StepResult `json:"steps"`
	// Changed reports whether a step changed something outside of this machine.
	Changed bool `json:"changed"`
}

// StepResult is what became of one step.
type StepResult struct {
	Name    string            `json:"name"`
	Status  delivery.Status   `json:"status"`
	Seconds float64           `json:"seconds"`
	Message string            `json:"message,omitempty"`
	Reasons []delivery.Reason `json:"reasons,omitempty"` // why it failed
	Detail  any               `json:"detail,omitempty"`
}

// Steps returns all steps of the delivery in their order. Without an environment the image is built and tested. An image
// that was given is neither built nor tested, and one that is promoted is not built at all.
func (d *Delivery) Steps() ([]delivery.Step, error) {
	steps := d.imageSteps()
	switch {
	case d.env != nil && d.env.From != "":
		steps = d.promoteSteps()
	case d.Tarball != "":
		steps = slices.DeleteFunc(steps, func(s delivery.Step) bool { return s.Name != "publish" })
	}
	if d.env == nil {
		return steps, nil
	}
	own, err := d.targetSteps()
	return append(steps, own...), err
}

// Deliver runs all steps. The result is there also when one failed.
func (d *Delivery) Deliver(ctx context.Context) (*Result, error) {
	if err := d.checkOverride(); err != nil {
		return nil, err
	}
	steps, err := d.Steps()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the image: %w", err)
	}
	defer os.RemoveAll(scratch)
	if d.env == nil {
		report.Warn(ctx, "nothing will be delivered: %s", d.Decision.Reason)
	} else {
		report.Info(ctx, "environment %s: %s", d.env.Name, d.Decision.Reason)
	}
	r, err := d.run(ctx, d.tarball(scratch), steps...)
	if r != nil {
		var reading error
		if r.NotMergedBack, reading = d.notMergedBack(ctx); reading != nil {
			report.Warn(ctx, "whether %s has everything is not known: %v", config.Develop, reading)
		}
		for _, reminder := range git.Reminders(r.NotMergedBack, config.Develop) {
			report.Warn(ctx, "%s", reminder)
		}
	}
	if r != nil && r.Delivered && !r.Changed {
		report.Info(ctx, "nothing new: %s runs this source already", d.env.Name)
	}
	return r, err
}

// tarball is the file with the image: the one that was given or made, else one in a directory.
func (d *Delivery) tarball(dir string) string {
	if d.Made != nil {
		return d.Made.Tarball
	}
	return cmp.Or(d.Tarball, filepath.Join(dir, "image.tar"))
}

// Publish builds, tests and pushes the image, as far as the environment's registry does not have it.
func (d *Delivery) Publish(ctx context.Context) (*Result, error) {
	if d.Tarball != "" {
		return d.Step(ctx, "publish")
	}
	if _, err := d.Environment(); err != nil {
		return nil, err
	}
	if d.env.From != "" {
		return nil, fault.Usagef("%s takes its image from %s: `aksflow promote --to %s` brings it there", d.env.Name, d.env.From, d.env.Name)
	}
	scratch, err := d.scratch()
	if err != nil {
		return nil, err
	}
	return d.run(ctx, d.tarball(scratch), d.imageSteps()...)
}

// Step runs one step by its name. A step of another target than the environment's is found, too: a pull environment can
// be deployed to directly, and a push environment bumped.
func (d *Delivery) Step(ctx context.Context, name string) (*Result, error) {
	find := func(steps []delivery.Step) int {
		return slices.IndexFunc(steps, func(s delivery.Step) bool { return s.Name == name })
	}
	if steps := d.imageSteps(); find(steps) >= 0 {
		return d.run(ctx, d.Tarball, steps[find(steps)])
	}
	if _, err := d.Environment(); err != nil {
		return nil, err
	}
	var failed error
	for _, t := range append([]namedTarget{{d.env.Target, d.target}}, d.targets...) {
		steps, err := t.Steps(d.release(delivery.Source{}), d.Options)
		if i := find(steps); i >= 0 {
			return d.run(ctx, d.Tarball, d.proving(steps, i)...)
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		failed = fault.Usagef("no target has the step %s", name)
	}
	return nil, failed
}

// run runs steps in their order.
func (d *Delivery) run(ctx context.Context, tarball string, steps ...delivery.Step) (*Result, error) {
	for _, s := range steps {
		if s.Check == nil {
			continue
		}
		if err := s.Check(ctx); err != nil {
			return nil, err
		}
	}
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	state := &delivery.State{Release: d.release(source), Tarball: tarball, Commit: d.Commit}
	result := &Result{Reason: d.Decision.Reason, Version: d.Decision.Version, Source: source, Steps: []StepResult{}}
	if d.env != nil {
		result.Environment, result.Target = d.env.Name, d.env.Target
	}
	done := map[string]bool{}
	for _, s := range steps {
		done[s.Name] = false
	}
	var failures []error
	for _, s := range steps {
		missing := slices.ContainsFunc(s.Needs, func(need string) bool { ok, part := done[need]; return part && !ok })
		if missing || ctx.Err() != nil {
			result.Steps = append(result.Steps, StepResult{Name: s.Name, Status: delivery.Skipped})
			continue
		}
		out, err := d.step(ctx, s, state, result)
		if err != nil {
			if len(steps) > 1 {
				err = fmt.Errorf("%s: %w", s.Name, err)
			}
			failures = append(failures, err)
		}
		done[s.Name] = err == nil && out.Status != delivery.Held
	}
	if len(failures) == 0 && ctx.Err() != nil {
		failures = append(failures, context.Cause(ctx))
	}
	err = errors.Join(failures...)
	result.Source = state.Release.Source
	// An image that the registry has is no result of a run whose tests it fails.
	if published, part := done["publish"]; state.Release.Image.Repository != "" && (published || !part) {
		result.Image = state.Release.Image.String()
	}
	result.Delivered = d.env != nil && err == nil && !result.Held && result.PullRequest == ""
	return result, err
}

// step runs one step and records what became of it.
func (d *Delivery) step(ctx context.Context, s delivery.Step, state *delivery.State, result *Result) (delivery.Outcome, error) {
	began := time.Now()
	ctx, end := report.Start(context.WithValue(ctx, runKey{}, ctx), s.Name)
	limited, cancel := d.limit(ctx, s)
	err, out := d.verify(limited, s.Name, state), delivery.Outcome{}
	if err == nil {
		out, err = s.Run(limited, state)
	}
	cancel()
	end(out.Summary, err)
	done := StepResult{
		Name: s.Name, Status: out.Status, Seconds: (time.Since(began) + d.took(s.Name)).Seconds(), Message: out.Summary, Detail: out.Detail,
		Reasons: delivery.Reasons(err),
	}
	switch {
	case err != nil:
		done.Status = delivery.Failed
	case done.Status == "":
		done.Status = delivery.Done
	}
	result.Steps = append(result.Steps, done)
	result.Changed = result.Changed || s.Changes && done.Status != delivery.Unchanged
	result.add(out.Detail)
	return out, err
}

type runKey struct{}

// outliving returns the context of a step for what the steps after it use, too, such as the connection to the engine. It
// has the values of the step's context, and ends with the run.
func outliving(ctx context.Context) context.Context {
	run, ok := ctx.Value(runKey{}).(context.Context)
	if !ok {
		return ctx
	}
	outliving, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(run, func() { cancel(context.Cause(run)) })
	return outliving
}

// limit bounds a step, unless the caller bounded the whole run.
func (d *Delivery) limit(ctx context.Context, s delivery.Step) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return context.WithCancel(ctx)
	}
	limit := s.Limit
	if limit == 0 {
		limit = delivery.DefaultLimit
	}
	return context.WithTimeoutCause(ctx, limit,
		delivery.LimitError(fmt.Sprintf("%s took more than %s: --timeout sets another limit", s.Name, report.Span(limit))))
}

// add takes what concerns the whole run from the detail of a step.
func (r *Result) add(detail any) {
	switch detail := detail.(type) {
	case *delivery.Published:
		r.Tags = detail.Tags
	case *delivery.Bumped:
		r.Commit, r.PullRequest = detail.Commit, detail.PullRequest
	case *delivery.Deployed:
		r.Revision, r.Held, r.RolledBack = detail.Revision, detail.Held, detail.RolledBack
	}
}
