package flow

import (
	"context"
	"fmt"
	"strings"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Plan is what deliver would do, and why. It is the JSON of plan.
type Plan struct {
	Environment string `json:"environment"` // "" when the image is built and tested only
	Target      string `json:"target,omitempty"`
	Registry    string `json:"registry,omitempty"`
	// Repository is where the image is pushed to, HOST/PATH, and GitRepository the URL that a bump is pushed to.
	Repository    string   `json:"repository,omitempty"`
	GitRepository string   `json:"gitRepository,omitempty"`
	Image         string   `json:"image"`
	Version       string   `json:"version"`
	Tags          []string `json:"tags"`
	Steps         []string `json:"steps"`
	Reason        string   `json:"reason"`
	// Source is what the image is built from.
	Source delivery.Source `json:"source"`
	// Warnings are what costs more than it seems to.
	Warnings []string `json:"warnings,omitempty"`
}

// Plan says what Deliver would do.
func (d *Delivery) Plan(ctx context.Context) (*Plan, error) {
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := d.Steps()
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Image: d.config.Image, Version: d.Decision.Version, Tags: append([]string{}, d.Decision.Tags...),
		Steps: []string{}, Reason: d.Decision.Reason, Source: source,
	}
	if d.env != nil {
		p.Environment, p.Target, p.Registry = d.env.Name, d.env.Target, d.env.Registry
		p.Repository, p.GitRepository = d.env.Repository, d.env.GitOps.Repo
	}
	for _, s := range steps {
		p.Steps = append(p.Steps, strings.TrimSpace(s.Name+" "+s.About))
	}
	p.Warnings = d.commitWarnings()
	return p, nil
}

// commitWarnings says which arguments of the Dockerfile make each commit a new image. A Dockerfile that cannot be read is
// found by the build.
func (d *Delivery) commitWarnings() []string {
	text, err := d.dockerfile()
	if err != nil {
		return nil
	}
	var warnings []string
	for _, name := range build.CommitArgs(d.config, text) {
		warnings = append(warnings, fmt.Sprintf("the Dockerfile declares ARG %s, which is set from the commit: each commit builds what follows it again, and makes another image of the same source; remove it, or set build.args.%s", name, name))
	}
	return warnings
}
