package flow

import (
	"context"
	"errors"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/target"
)

// Check returns what a delivery to the environment needs, and whether it is there. It changes nothing. Without an
// environment it checks what the build and the tests need.
func (d *Delivery) Check(ctx context.Context) []delivery.Check {
	checks := []delivery.Check{d.checkSource(ctx), d.checkImage(ctx)}
	if d.env == nil {
		return checks
	}
	repository := delivery.NewCheck("registry", "may push to "+d.env.Repository, d.checkRegistry(ctx))
	checks = append(checks, repository)
	if t, ok := d.target.(target.Checker); ok {
		checks = append(checks, t.Check(ctx, d.release(d.builtFrom), d.Options)...)
	}
	return checks
}

// checkSource finds out what the image is built from.
func (d *Delivery) checkSource(ctx context.Context) delivery.Check {
	source, err := d.source(ctx)
	switch {
	case err != nil:
		return delivery.NewCheck("git", "", err)
	case source.Shallow:
		return delivery.Check{
			Name: "git", Status: delivery.CheckWarning, Message: "this clone has no whole history: the commit that an image is named after may be another one than in other clones",
			Remedy: "fetch the whole history: `git fetch --unshallow`, or actions/checkout with fetch-depth: 0",
		}
	case source.Commit == "":
		return delivery.Check{
			Name: "git", Status: delivery.CheckWarning, Message: "the build context is not in a git repository: images get no tag of a commit",
		}
	}
	return delivery.Passed("git", "the image is built from "+shortRevision(source))
}

// checkImage checks what is known to make the build or the tests fail, such as a variable that is not set.
func (d *Delivery) checkImage(ctx context.Context) delivery.Check {
	message := "no tests are configured"
	if d.hasTests() {
		message = "all variables and secrets are set"
	}
	c := delivery.NewCheck("build and tests", message, errors.Join(d.checkBuild(ctx), d.checkTest(ctx), d.checkSecrets()))
	if c.Status != delivery.CheckOK {
		return c
	}
	if text, err := d.dockerfile(); err == nil && len(build.CommitArgs(d.config, text)) > 0 {
		c.Status, c.Message = delivery.CheckWarning, d.commitWarnings()[0]
	}
	return c
}

// checkSecrets looks for the sources of all secrets.
func (d *Delivery) checkSecrets() error {
	secrets, err := d.config.Test.Secrets()
	if err != nil {
		return err
	}
	var errs []error
	for name, from := range d.config.Build.Secrets {
		_, _, err := d.outside().Value(name, from, d.config.Abs)
		errs = append(errs, err)
	}
	for name, from := range secrets {
		_, _, err := d.outside().Value(name, from, d.config.Abs)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkRegistry asks the registry whether it takes a push.
func (d *Delivery) checkRegistry(ctx context.Context) error {
	registry, err := d.registry(ctx)
	if err != nil {
		return err
	}
	return image.CheckPush(ctx, d.env.Repository, registry)
}
