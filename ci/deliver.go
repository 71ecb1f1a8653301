package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// All of it: build, test, publish, then deploy (push) or bump and wait (pull)
//
// The image is built and tested in your engine, and delivered to the environment that the git ref maps to. A git ref that
// maps to none is built and tested, and that is all. An image that the environment's registry has for this source is not
// built again, and tests that it passed do not run again.
//
// +cache="never"
func (m *AksFlow) Deliver(
	ctx context.Context,

	// The environment of aksflow.yaml. Without it: the one that the git ref maps to
	// +optional
	env string,

	// How to deliver, in place of what aksflow.yaml says
	// +optional
	target Target,

	// The image that another job built and tested, an OCI tarball. Without it, one is built and tested first
	// +optional
	image *dagger.File,

	// How the new version takes over, in place of what aksflow.yaml says; push only
	// +optional
	strategy Strategy,

	// The stages of a canary, such as 10,50
	// +optional
	percent []int,

	// Stop at the first stage: aksflow resume, or aksflow abort
	// +optional
	hold bool,

	// Leave a failed deploy as it is, for debugging
	// +optional
	noRollback bool,

	// Build the image again, without what an engine remembers, though the registry has one of this source
	// +optional
	rebuild bool,

	// Run the tests again, though the image passed them
	// +optional
	retest bool,

	// Further flags of aksflow deliver, such as --force or --timeout=10m
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	if err := tooLate(flag); err != nil {
		return "", err
	}
	args := append(m.choice(env, target), rollout(strategy, percent, hold, noRollback)...)
	return m.deliver(ctx, env, m.choice(env, target), image, again{rebuild, retest}, append(args, flag...), format)
}

// tooLate refuses flags that the function has itself, and acts on before the command runs.
func tooLate(flag []string) error {
	for _, f := range flag {
		name, _, _ := strings.Cut(f, "=")
		if slices.Contains([]string{"--env", "--target", "--image", "--rebuild", "--retest", "--ref"}, name) {
			return fmt.Errorf("--flag=%s: give %s itself", f, name)
		}
	}
	return nil
}

// deliver plans a delivery, makes the image unless there is one, and lets the command do the rest.
func (m *AksFlow) deliver(
	ctx context.Context, env string, choice []string, image *dagger.File, again again, args []string, format Format,
) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	p, err := m.plan(ctx, c, choice)
	if err != nil {
		return "", err
	}
	if err := m.unreachable(p); err != nil {
		return "", err
	}
	if err := cmp.Or(m.missingToken(ctx, p.Environment, p.Target), m.missingTokenBefore(ctx, p.Environment)); err != nil {
		return "", err
	}
	if p.Environment != "" {
		if err := m.reachCluster(ctx, c); err != nil {
			return "", err
		}
		m.withCluster(c)
	}
	switch {
	case image != nil:
		c.container = c.container.WithMountedFile(imagePath, image)
		args = append(args, "--image", imagePath)
	case p.From == "":
		made, err := m.make(ctx, p, again)
		if err != nil {
			return "", err
		}
		args = slices.Concat(args, m.arguments(), again.flags(), made.give(c))
	}
	out, err := c.run(ctx, "deliver", append(args, m.login()...)...)
	if err != nil {
		return "", err
	}
	return out.delivered(format)
}

// delivered is what came of a delivery, in a format.
func (o *outcome) delivered(format Format) (string, error) {
	if format == Json {
		return string(o.document), nil
	}
	var done struct {
		Changed, Delivered  bool
		Environment, Reason string
	}
	if err := json.Unmarshal(o.document, &done); err != nil {
		return "", fmt.Errorf("reading the result: %w", err)
	}
	switch {
	case done.Environment == "":
		return fmt.Sprintf("%snothing was delivered: %s\n", o.text, done.Reason), nil
	case done.Delivered && !done.Changed:
		return fmt.Sprintf("%snothing new: %s runs this source already\n", o.text, done.Environment), nil
	}
	return o.text, nil
}
