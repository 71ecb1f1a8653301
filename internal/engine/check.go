package engine

import (
	"cmp"
	"context"
	"fmt"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
)

// Check returns which engine [Connect] would take, and whether this machine has what that needs. It starts nothing.
func Check(ctx context.Context, o Options) []delivery.Check {
	env := newEnvironment(o.Env)
	want := cmp.Or(o.Engine, env["AKSFLOW_ENGINE"], Auto)
	switch want {
	case Embedded:
		return checkEmbedded(ctx, o, "it was chosen")
	case Auto, Dagger:
		found, err := findDagger(ctx, env)
		switch {
		case err == nil:
			return []delivery.Check{delivery.Passed("engine", "Dagger, because "+found.why)}
		case want == Auto:
			return checkEmbedded(ctx, o, err.Error())
		}
		return []delivery.Check{delivery.NewCheck("engine", "", fmt.Errorf("the Dagger engine was chosen, and %w", err))}
	}
	return []delivery.Check{delivery.NewCheck("engine", "", fault.Usagef("engine %q: want %s, %s or %s (--engine or AKSFLOW_ENGINE)", want, Auto, Dagger, Embedded))}
}

// checkEmbedded checks what the embedded engine needs of this machine.
func checkEmbedded(ctx context.Context, o Options, why string) []delivery.Check {
	host, err := newHost(o)
	if err != nil {
		return []delivery.Check{delivery.NewCheck("engine", "", err)}
	}
	checks := []delivery.Check{delivery.Passed("engine", mode(host)+", because "+why)}
	state, err := StateDir(o.State, o.Env)
	if err != nil {
		return append(checks, delivery.NewCheck("state", "", err))
	}
	if host != nil {
		return append(checks, host.Check(ctx)...)
	}
	return append(checks, buildkitd.Check(buildkitd.Options{Dir: engineDir(state), Env: o.Env})...)
}
