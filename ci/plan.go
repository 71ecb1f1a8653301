package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Target is a way to an environment.
type Target string

const (
	// aksflow applies the manifests and watches the rollout
	Push Target = "push"
	// aksflow writes the digest to git, and Argo CD or Flux applies it
	Pull Target = "pull"
)

// Format is what a function returns.
type Format string

const (
	// What a person reads
	Text Format = "text"
	// The document that aksflow --output json prints
	Json Format = "json"
)

// in returns the outcome in a format.
func (o *outcome) in(format Format) string {
	if format == Json {
		return string(o.document)
	}
	return here(o.text)
}

// Say what deliver would do for a git ref, and why
//
// +cache="session"
func (m *AksFlow) Plan(
	ctx context.Context,

	// The environment. Without it: the one that the git ref maps to
	// +optional
	env string,

	// How to deliver, in place of what aksflow.yaml says
	// +optional
	target Target,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	out, err := c.run(ctx, "plan", m.planning(m.choice(env, target))...)
	if err != nil {
		return "", err
	}
	return out.in(format), nil
}

// choice returns the flags that choose the environment of a delivery.
func (m *AksFlow) choice(env string, target Target) []string {
	return flags("--env", env, "--ref", m.Ref, "--target", string(target))
}

// flags returns pairs of a flag and its value without those whose value is empty.
func flags(pairs ...string) []string {
	var set []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			set = append(set, pairs[i], pairs[i+1])
		}
	}
	return set
}

// planning returns the flags of a plan.
func (m *AksFlow) planning(choice []string) []string {
	return slices.Concat(choice, m.login(), m.arguments())
}

// planned is the part of a plan's JSON that this module needs.
type planned struct {
	Environment   string
	Target        string
	From          string // the environment that the image is promoted from
	Repository    string
	GitRepository string
	Reason        string
	Source        delivery.Source
	Images        map[string]string // those of registries that the image is made from, with their digests
	Generation    string            // what makes the engine run again what it remembers
	Recorded      *struct{ Digest, Tests string }
}

// plan asks the command what a delivery would be, and what the registry has for this source.
func (m *AksFlow) plan(ctx context.Context, c *command, choice []string) (p planned, err error) {
	out, err := c.run(ctx, "plan", m.planning(choice)...)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(out.document, &p); err != nil {
		return p, fmt.Errorf("reading the plan: %w", err)
	}
	return p, nil
}
