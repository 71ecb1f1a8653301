package gitflow_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/gitflow"
)

// modelled is a configuration with a branch model and three environments that say nothing about git refs.
func modelled(t *testing.T, flow string) *config.Config {
	t.Helper()
	c, err := config.Parse("aksflow.yaml", []byte("app: vote\nflow: "+flow+"\nenvironments:\n"+
		"  local: {platform: local, manifests: m}\n  dev: {registry: r, manifests: m}\n  staging: {registry: r, manifests: m}\n  production: {registry: r, manifests: m}\n"))
	require.NoError(t, err)
	return c
}

// Every rule of every branch model.
func TestBranchModels(t *testing.T) {
	for _, tc := range []struct{ flow, ref, environment, from, version string }{
		{"gitflow", "refs/heads/feature/login", "", "", "0.0.0-feature-login.g0123456"},
		{"gitflow", "refs/heads/bugfix/login", "", "", "0.0.0-bugfix-login.g0123456"},
		{"gitflow", "refs/heads/develop", "dev", "", "0.0.0-develop.g0123456"},
		{"gitflow", "refs/heads/release/1.2.0", "staging", "", "1.2.0-rc.g0123456"},
		{"gitflow", "refs/heads/hotfix/1.2.1", "staging", "", "1.2.1-rc.g0123456"},
		{"gitflow", "refs/heads/main", "production", "staging", "0.0.0-main.g0123456"},
		{"gitflow", "refs/tags/v1.2.0", "production", "staging", "1.2.0"},
		{"gitflow", "refs/tags/v1.2.0-rc.1", "", "", "1.2.0-rc.1"},
		{"gitflow", "refs/pull/7/merge", "", "", "0.0.0-pr-7.g0123456"},
		{"github", "refs/heads/login", "", "", "0.0.0-login.g0123456"},
		{"github", "refs/heads/main", "staging", "", "0.0.0-main.g0123456"},
		{"github", "refs/tags/v1.2.0", "production", "staging", "1.2.0"},
		{"github", "refs/tags/v1.2.0-rc.1", "", "", "1.2.0-rc.1"},
		{"github", "refs/pull/7/merge", "", "", "0.0.0-pr-7.g0123456"},
		{"trunk", "refs/heads/login", "", "", "0.0.0-login.g0123456"},
		{"trunk", "refs/heads/main", "dev", "", "0.0.0-main.g0123456"},
		{"trunk", "refs/heads/release/1.2.0", "staging", "", "1.2.0-rc.g0123456"},
		{"trunk", "refs/tags/v1.2.0-rc.1", "staging", "", "1.2.0-rc.1"},
		{"trunk", "refs/tags/v1.2.0", "production", "staging", "1.2.0"},
		{"trunk", "refs/pull/7/merge", "", "", "0.0.0-pr-7.g0123456"},
	} {
		t.Run(tc.flow+" "+tc.ref, func(t *testing.T) {
			c := modelled(t, tc.flow)
			d := gitflow.Decide(c, tc.ref, commit)
			assert.Equal(t, tc.environment, d.Environment, d.Reason)
			assert.Equal(t, tc.version, d.Version)
			if d.Environment != "" {
				assert.Equal(t, tc.from, c.Environments[d.Environment].From)
			}
			assert.True(t, covered(c, tc.ref, d.Environment), "%v does not say what becomes of %s", gitflow.Rules(c), tc.ref)
		})
	}
}

// covered reports whether the rules say of a git ref what Decide does.
func covered(c *config.Config, gitRef, environment string) bool {
	name := strings.TrimPrefix(strings.Replace(gitRef, "refs/tags/", "tag ", 1), "refs/heads/")
	for _, r := range gitflow.Rules(c) {
		if r.Environment != environment {
			continue
		}
		for _, pattern := range r.Refs {
			prefix, _, _ := strings.Cut(pattern, "*")
			if pattern == name || prefix != pattern && strings.HasPrefix(name, prefix) || pattern == "all others" || pattern == "pull requests" {
				return true
			}
		}
	}
	return false
}

func TestRules(t *testing.T) {
	for flow, want := range map[string][]gitflow.Rule{
		"gitflow": {
			{Refs: []string{"develop"}, Environment: "dev", Does: "built, tested and delivered to dev"},
			{Refs: []string{"release/*", "hotfix/*"}, Environment: "staging", Does: "built, tested and delivered to staging as a release candidate, such as 1.2.0-rc.g1a2b3c4 of release/1.2.0"},
			{Refs: []string{"main", "tag v*"}, Environment: "production", From: "staging", Does: "promoted to production from staging: the same digest, nothing is built"},
			{Refs: []string{"feature/*", "all others", "pull requests"}, Does: "built and tested only"},
		},
		"github": {
			{Refs: []string{"main"}, Environment: "staging", Does: "built, tested and delivered to staging"},
			{Refs: []string{"tag v*"}, Environment: "production", From: "staging", Does: "promoted to production from staging: the same digest, nothing is built"},
			{Refs: []string{"all others", "pull requests"}, Does: "built and tested only"},
		},
		"trunk": {
			{Refs: []string{"main"}, Environment: "dev", Does: "built, tested and delivered to dev"},
			{Refs: []string{"tag v*-*"}, Environment: "staging", Does: "built, tested and delivered to staging"},
			{Refs: []string{"release/*"}, Environment: "staging", Does: "built, tested and delivered to staging as a release candidate, such as 1.2.0-rc.g1a2b3c4 of release/1.2.0"},
			{Refs: []string{"tag v*"}, Environment: "production", From: "staging", Does: "promoted to production from staging: the same digest, nothing is built"},
			{Refs: []string{"all others", "pull requests"}, Does: "built and tested only"},
		},
	} {
		assert.Equal(t, want, gitflow.Rules(modelled(t, flow)), flow)
	}
	assert.Empty(t, gitflow.Rules(parsed(t, "branches: [x]", "branches: [y]")), "without a branch model")
}

// What an environment says itself goes before the branch model.
func TestABranchModelFillsIn(t *testing.T) {
	c, err := config.Parse("aksflow.yaml", []byte("app: vote\nflow: gitflow\nenvironments:\n"+
		"  staging: {registry: r, manifests: m, branches: [\"candidate/*\"]}\n  production: {registry: r, manifests: m, from: staging, tags: [\"r*\"]}\n"))
	require.NoError(t, err)
	for ref, want := range map[string]string{
		"refs/heads/candidate/1": "staging", "refs/heads/release/1.2.0": "", "refs/heads/main": "", "refs/tags/r1": "production", "refs/heads/develop": "",
	} {
		assert.Equal(t, want, gitflow.Decide(c, ref, commit).Environment, ref)
	}
	c, err = config.Parse("aksflow.yaml", []byte("app: vote\nflow: gitflow\nenvironments: {production: {registry: r, manifests: m}}\n"))
	require.NoError(t, err)
	assert.Empty(t, c.Environments["production"].From, "there is no staging: production builds")
	assert.Equal(t, "production", gitflow.Decide(c, "refs/heads/main", commit).Environment)
}
