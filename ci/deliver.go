package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

// All of it: build, test, publish, then deploy (push) or bump and wait (pull)
//
// The image is built and tested in your engine, and delivered to the environment that the git ref maps to. A git ref that
// maps to none is built and tested, and that is all.
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

	// Run tests again whose content did not change
	// +optional
	noCache bool,

	// Further flags of aksflow deliver, such as --force or --timeout=10m
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	args := append(m.choice(env, target), rollout(strategy, percent, hold, noRollback)...)
	return m.deliver(ctx, env, m.choice(env, target), image, noCache, append(args, flag...), format)
}

// deliver plans a delivery, makes the image unless there is one, and lets the command do the rest.
func (m *AksFlow) deliver(
	ctx context.Context, env string, choice []string, image *dagger.File, noCache bool, args []string, format Format,
) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	p, err := c.plan(ctx, choice)
	if err != nil {
		return "", err
	}
	made := &made{}
	if image == nil {
		if image, err = m.produce(ctx, p, noCache, made); err != nil {
			return "", err
		}
	}
	if err := m.reach(ctx, c, p); err != nil {
		return "", err
	}
	if err := m.reachCluster(ctx, c); err != nil {
		return "", err
	}
	m.withCluster(c)
	m.withRegistry(c)
	c.container = c.container.WithMountedFile(imagePath, image)
	out, err := c.run(ctx, "deliver", append(args, "--image", imagePath)...)
	if err != nil {
		return "", err
	}
	return made.join(out, format)
}

// made is what this module did of a delivery.
type made struct{ steps []step }

// step is one row of a delivery's table.
type step struct {
	Name    string          `json:"name"`
	Status  delivery.Status `json:"status"`
	Seconds float64         `json:"seconds"`
	Message string          `json:"message,omitempty"`
}

// produce builds and tests the image for what is planned.
func (m *AksFlow) produce(ctx context.Context, p planned, noCache bool, made *made) (*dagger.File, error) {
	d, err := m.define(ctx, p.Environment)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	image, digest, err := d.image(ctx)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	made.add("build", delivery.Done, began, digest)
	began = time.Now()
	if d.config.Test.Unit == nil && d.config.Test.Integration == nil {
		made.add("test", delivery.Unchanged, began, "no tests are configured")
		return image, nil
	}
	results, err := d.test(ctx, image, noCache)
	if err != nil {
		return nil, fmt.Errorf("test: %w", err)
	}
	made.add("test", delivery.Done, began, results.Summary())
	return image, nil
}

func (m *made) add(name string, status delivery.Status, began time.Time, message string) {
	m.steps = append(m.steps, step{Name: name, Status: status, Seconds: time.Since(began).Seconds(), Message: message})
}

// join puts the steps of this module before those of the command.
func (m *made) join(out *outcome, format Format) (string, error) {
	var document map[string]any
	if err := json.Unmarshal(out.document, &document); err != nil {
		return "", fmt.Errorf("reading the result: %w", err)
	}
	var done struct {
		Changed, Delivered  bool
		Environment, Reason string
		Steps               []step
	}
	if err := json.Unmarshal(out.document, &done); err != nil {
		return "", fmt.Errorf("reading the result: %w", err)
	}
	if format == Json {
		var steps []any
		for _, s := range m.steps {
			steps = append(steps, s)
		}
		theirs, _ := document["steps"].([]any)
		document["steps"] = append(steps, theirs...)
		var text strings.Builder
		enc := json.NewEncoder(&text)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err := enc.Encode(document)
		return text.String(), err
	}
	var rows [][]string
	for _, s := range append(m.steps, done.Steps...) {
		rows = append(rows, []string{s.Name, string(s.Status), fmt.Sprintf("%.1f", s.Seconds), s.Message})
	}
	var text strings.Builder
	report.Table(&text, []string{"step", "status", "seconds", ""}, rows)
	switch {
	case done.Environment == "":
		fmt.Fprintf(&text, "nothing was delivered: %s\n", done.Reason)
	case done.Delivered && !done.Changed:
		fmt.Fprintf(&text, "nothing new: %s runs this source already\n", done.Environment)
	}
	return text.String(), nil
}
