// Package doctor looks for what would stop a delivery, before one is tried. It changes nothing, neither on this machine
// nor elsewhere.
//
// It asks each part what that needs: the configuration, the engine, and for each environment its registry, its target
// and its cloud. A part that is not configured is not asked.
package doctor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

// Options say what is looked at.
type Options struct {
	// Request is the delivery. Its Config is read; its Env and ByRef choose the environment unless Environments does.
	Request flow.Request
	// Environments are those that are looked at; empty means the one of Request.
	Environments []string
	// Offline leaves out what is asked of others than this machine: registries, clusters, git hosts.
	Offline bool
	// Engine checks what builds and tests. Nil where that is known.
	Engine func(context.Context) []delivery.Check
	// Cloud checks what an environment needs of the cloud that it is in. Nil where there is none to ask.
	Cloud func(context.Context, *delivery.Environment) []delivery.Check
}

// Result is what was found.
type Result struct {
	// Parts are in the order in which a delivery needs them.
	Parts []Part `json:"parts"`
	// Failed is the number of checks that failed.
	Failed int `json:"failed"`
}

// Part is a part of the delivery with its checks.
type Part struct {
	// Name is configuration, engine, or the name of an environment.
	Name   string           `json:"name"`
	Checks []delivery.Check `json:"checks"`
}

// partLimit bounds how long one part may take: what does not answer by then stops a delivery, too.
const partLimit = 45 * time.Second

// Run looks at all parts at once.
func Run(ctx context.Context, o Options) *Result {
	result := &Result{}
	cfg, err := config.Load(o.Request.Config)
	if err != nil {
		result.Parts = []Part{{Name: "configuration", Checks: []delivery.Check{delivery.NewCheck(o.Request.Config, "", err)}}}
	}
	names := o.Environments
	if len(names) == 0 {
		names = []string{""}
	}
	var parts []func(context.Context) Part
	if cfg != nil {
		parts = append(parts, func(ctx context.Context) Part {
			return Part{Name: "configuration", Checks: append(configuration(cfg), o.manifests(ctx, cfg)...)}
		})
	}
	if o.Engine != nil {
		parts = append(parts, func(ctx context.Context) Part { return Part{Name: "engine", Checks: o.Engine(ctx)} })
	}
	if cfg != nil && !o.Offline {
		for _, name := range names {
			parts = append(parts, func(ctx context.Context) Part { return o.environment(ctx, name) })
		}
	}
	result.Parts = append(result.Parts, all(ctx, parts)...)
	for _, p := range result.Parts {
		for _, c := range p.Checks {
			if c.Status == delivery.CheckFailed {
				result.Failed++
			}
		}
	}
	return result
}

// all runs functions at once, and returns what they return in their order.
func all(ctx context.Context, parts []func(context.Context) Part) []Part {
	out := make([]Part, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, partLimit, delivery.LimitError(fmt.Sprintf("no answer within %s", report.Span(partLimit))))
			defer cancel()
			out[i] = part(ctx)
		})
	}
	running.Wait()
	return out
}

// environment opens the delivery to an environment and checks what it needs.
func (o Options) environment(ctx context.Context, name string) Part {
	r := o.Request
	if name != "" {
		r.Env, r.ByRef = name, false
	}
	part := Part{Name: name}
	if name == "" {
		part.Name = "this git ref"
	}
	d, err := flow.Open(ctx, r)
	if err != nil {
		part.Checks = []delivery.Check{delivery.NewCheck("environment", "", err)}
		return part
	}
	env, err := d.Environment()
	if err != nil { // the git ref maps to none
		part.Checks = append([]delivery.Check{delivery.Passed("environment", "none is delivered to: "+d.Decision.Reason)}, d.Check(ctx)...)
		return part
	}
	part.Name = env.Name
	var cloud []delivery.Check
	var asking sync.WaitGroup
	if o.Cloud != nil {
		asking.Go(func() { cloud = o.Cloud(ctx, env) })
	}
	part.Checks = append([]delivery.Check{delivery.Passed("environment", d.Decision.Reason)}, d.Check(ctx)...)
	asking.Wait()
	part.Checks = append(part.Checks, cloud...)
	return part
}
