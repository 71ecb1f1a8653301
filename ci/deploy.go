package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// Strategy is how a new version takes over from the old one.
type Strategy string

const (
	// As the Deployment itself says
	Rolling Strategy = "rolling"
	// A growing part of the traffic
	Canary Strategy = "canary"
	// All of the traffic at once, when the new version is ready beside the old one
	BlueGreen Strategy = "blue-green"
)

// rollout returns the flags for how a new version takes over.
func rollout(strategy Strategy, percent []int, hold, noRollback bool) []string {
	stages := make([]string, 0, len(percent))
	for _, p := range percent {
		stages = append(stages, strconv.Itoa(p))
	}
	set := flags("--strategy", string(strategy), "--percent", strings.Join(stages, ","))
	return append(append(set, given("--hold", hold)...), given("--no-rollback", noRollback)...)
}

// given returns a flag without a value, if it is set.
func given(flag string, set bool) []string {
	if set {
		return []string{flag}
	}
	return nil
}

// Apply the manifests, watch the rollout, and go back if it fails
//
// +cache="never"
func (m *AksFlow) Deploy(
	ctx context.Context,

	// The environment of aksflow.yaml
	env string,

	// The reference to run, HOST/REPOSITORY@sha256:…. Without it: what the manifests say
	// +optional
	image string,

	// How the new version takes over, in place of what aksflow.yaml says
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

	// Further flags of aksflow deploy, such as --prune-volumes or --timeout=10m
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	set := append(flags("--env", env, "--image", image), rollout(strategy, percent, hold, noRollback)...)
	return m.onCluster(ctx, "deploy", env, format, slices.Concat(set, m.login(), flag)...)
}

// Show what deploy would change. Fails with the difference if there is one, as the command does
//
// +cache="never"
func (m *AksFlow) Diff(
	ctx context.Context,

	// The environment of aksflow.yaml
	env string,

	// The reference to run, HOST/REPOSITORY@sha256:…. Without it: what the manifests say
	// +optional
	image string,

	// Further flags of aksflow diff
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	return m.onCluster(ctx, "diff", env, format, append(flags("--env", env, "--image", image), flag...)...)
}

// Wait until Argo CD or Flux has applied a commit and the pods run the digest
//
// +cache="never"
func (m *AksFlow) Wait(
	ctx context.Context,

	// The environment of aksflow.yaml
	env string,

	// The reference that the pods must run, with its digest
	image string,

	// The commit to follow. Without it: whatever the branch has
	// +optional
	commit string,

	// Further flags of aksflow wait, such as --sync or --timeout=10m
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	return m.onCluster(ctx, "wait", env, format, slices.Concat(flags("--env", env, "--image", image, "--commit", commit), m.login(), flag)...)
}

// Go back to an earlier revision; where an operator pulls, revert the bump
//
// +cache="never"
func (m *AksFlow) Rollback(
	ctx context.Context,

	// The environment of aksflow.yaml
	env string,

	// The revision, or with target pull the commit, to go back to. Without it: the one before
	// +optional
	to string,

	// Further flags of aksflow rollback
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	return m.onCluster(ctx, "rollback", env, format, slices.Concat(flags("--env", env, "--to", to), m.login(), flag)...)
}

// List the revisions that the cluster remembers, with what became of each
//
// +cache="never"
func (m *AksFlow) History(
	ctx context.Context,

	// The environment of aksflow.yaml
	env string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	return m.onCluster(ctx, "history", env, format, flags("--env", env)...)
}

// onCluster runs a verb that works on what an environment runs; the arguments name the environment.
func (m *AksFlow) onCluster(ctx context.Context, verb, env string, format Format, args ...string) (string, error) {
	if verb == "promote" || verb == "rollback" {
		if err := m.missingToken(ctx, env, ""); err != nil {
			return "", err
		}
	}
	if verb == "promote" || verb == "approve" && !slices.Contains(args, "--image") {
		if err := m.missingTokenBefore(ctx, env); err != nil {
			return "", err
		}
	}
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	if err := m.reachCluster(ctx, c); err != nil {
		return "", err
	}
	m.withCluster(c)
	out, err := c.run(ctx, verb, args...)
	if err != nil {
		return "", err
	}
	return out.in(format), nil
}
