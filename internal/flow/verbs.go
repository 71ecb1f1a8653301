package flow

import (
	"cmp"
	"context"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kustomize"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// single runs what the environment's target does beside a delivery's steps, as a run of one step.
func (d *Delivery) single(ctx context.Context, name string, do func(context.Context, delivery.Release) (delivery.Outcome, error)) (*Result, error) {
	if _, err := d.Environment(); err != nil {
		return nil, err
	}
	return d.run(ctx, "", delivery.Step{Name: name, Run: func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
		return do(ctx, s.Release)
	}})
}

// Rollback goes back to what was delivered before, or to the revision or commit that to names.
func (d *Delivery) Rollback(ctx context.Context, to string) (*Result, error) {
	return d.single(ctx, "rollback", func(ctx context.Context, r delivery.Release) (delivery.Outcome, error) {
		return d.rollback(ctx, r, to)
	})
}

// Resume finishes a release that is held.
func (d *Delivery) Resume(ctx context.Context) (*Result, error) {
	return d.single(ctx, "resume", func(ctx context.Context, r delivery.Release) (delivery.Outcome, error) {
		t, err := optional[target.Resumer](d, "resume")
		if err != nil {
			return delivery.Outcome{}, err
		}
		out, err := t.Resume(ctx, r, d.Options)
		if err == nil {
			err = d.proveCurrent(ctx, "resume")
		}
		return out, err
	})
}

// Abort undoes a release that is held.
func (d *Delivery) Abort(ctx context.Context) (*Result, error) {
	return d.single(ctx, "abort", func(ctx context.Context, r delivery.Release) (delivery.Outcome, error) {
		t, err := optional[target.Resumer](d, "abort")
		if err != nil {
			return delivery.Outcome{}, err
		}
		return t.Abort(ctx, r, d.Options)
	})
}

// Uninstall deletes what the app has in the environment.
func (d *Delivery) Uninstall(ctx context.Context) (*Result, error) {
	return d.single(ctx, "uninstall", func(ctx context.Context, r delivery.Release) (delivery.Outcome, error) {
		t, err := optional[target.Uninstaller](d, "uninstall")
		if err != nil {
			return delivery.Outcome{}, err
		}
		return t.Uninstall(ctx, r, d.Options)
	})
}

// optional returns the environment's target as something that not every target is.
func optional[T any](d *Delivery, verb string) (T, error) {
	if t, ok := d.target.(T); ok {
		return t, nil
	}
	var none T
	return none, fault.Usagef("the environment %s is delivered by %s, which has no %s", d.env.Name, d.env.Target, verb)
}

// Diff returns what a delivery would change.
func (d *Delivery) Diff(ctx context.Context) (*delivery.Difference, error) {
	if _, err := d.Environment(); err != nil {
		return nil, err
	}
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	out, err := d.target.Diff(ctx, d.release(source), d.Options)
	if err != nil {
		return nil, err
	}
	return out.Detail.(*delivery.Difference), nil
}

// History returns what was delivered to the environment.
func (d *Delivery) History(ctx context.Context) (*delivery.History, error) {
	env, err := d.Environment()
	if err != nil {
		return nil, err
	}
	revisions, err := d.target.History(ctx, env)
	if err != nil {
		return nil, err
	}
	if len(revisions) == 0 {
		report.Info(ctx, "nothing of %s has been delivered to %s", env.App, cmp.Or(env.Name, env.Namespace, "this cluster"))
		revisions = []delivery.Revision{}
	}
	return &delivery.History{Revisions: revisions}, nil
}

// Prepare sets up what the environment's target needs on the local platform.
func (d *Delivery) Prepare(ctx context.Context) error {
	env, err := d.Environment()
	if err != nil {
		return err
	}
	if t, ok := d.target.(target.Preparer); ok {
		return t.Prepare(ctx, env)
	}
	return nil
}

// SetImage sets the image in the manifests of a directory, which is all that a bump without a git repository does.
func SetImage(ctx context.Context, dir string, to manifest.Target, strict bool) (*delivery.Bumped, error) {
	ctx, end := report.Start(ctx, "bump")
	edit, err := manifest.SetDir(ctx, dir, to, manifest.Options{Build: kustomize.Build, Chart: render.Chart, Strict: strict})
	if err != nil {
		end("", err)
		return nil, err
	}
	for _, c := range edit.Changes {
		report.Info(ctx, "%s:%d  %s -> %s", c.File, c.Line, c.From, c.To)
	}
	edit.Warn(ctx)
	out := &delivery.Bumped{
		Changes: append([]manifest.Change{}, edit.Changes...), Unchanged: len(edit.Changes) == 0,
		Remaining: edit.Remaining, Unverified: edit.Unverified,
	}
	summary := report.Count(len(out.Changes), "reference")
	if out.Unchanged {
		summary = "nothing to change: the image is set already"
	}
	end(summary, nil)
	return out, nil
}

// SetImageFor sets the image in a directory as a bump of the environment that r names does in its repository. Like Validate, it
// reaches nothing, the local platform neither.
func SetImageFor(ctx context.Context, r Request, dir string) (*delivery.Bumped, error) {
	r.Local = anyLocalPlatform
	d, err := Open(ctx, r)
	if err != nil {
		return nil, err
	}
	return SetImage(ctx, dir, d.env.ImageToSet(r.Image, r.Options.Replace), r.Options.Pull.Strict)
}

// NeedTests returns a usage error when aksflow.yaml has no tests.
func (d *Delivery) NeedTests() error {
	if !d.hasTests() {
		return fault.Usagef("%s has no tests: name the Dockerfile's stages under test.unit and test.integration", d.config.Path())
	}
	return nil
}

// Logs reads the output of the app's pods in the environment. It returns how many containers were read.
func (d *Delivery) Logs(ctx context.Context, o kube.LogOptions, emit func(kube.LogLine)) (int, error) {
	if _, err := d.Environment(); err != nil {
		return 0, err
	}
	return cluster.Logs(ctx, d.release(delivery.Source{}), d.Options, o, emit)
}
