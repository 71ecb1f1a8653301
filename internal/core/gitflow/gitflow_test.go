package gitflow_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/semver"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/gitflow"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

func TestDecide(t *testing.T) {
	c, err := config.Load("../../../aksflow.yaml")
	require.NoError(t, err)
	for _, tc := range []struct {
		ref, environment, version string
		tags                      []string
	}{
		{"refs/heads/develop", "dev", "0.0.0-develop.g0123456", []string{"0.0.0-develop.g0123456", "develop"}},
		{"develop", "dev", "0.0.0-develop.g0123456", []string{"0.0.0-develop.g0123456", "develop"}},
		{"refs/heads/main", "production", "0.0.0-main.g0123456", []string{"0.0.0-main.g0123456", "main"}},
		{"refs/heads/release/1.4.0", "staging", "1.4.0-rc.g0123456", []string{"1.4.0-rc.g0123456", "release-1.4.0"}},
		{"refs/heads/hotfix/v1.4.1", "staging", "1.4.1-rc.g0123456", []string{"1.4.1-rc.g0123456", "hotfix-v1.4.1"}},
		{"refs/heads/release/spring", "staging", "0.0.0-release-spring.g0123456", []string{"0.0.0-release-spring.g0123456", "release-spring"}},
		{"refs/heads/release/a/b", "", "0.0.0-release-a-b.g0123456", []string{"0.0.0-release-a-b.g0123456", "release-a-b"}},
		{"refs/tags/v1.4.0", "production", "1.4.0", []string{"1.4.0", "v1.4.0"}},
		{"refs/tags/v1.4.0+build.7", "production", "1.4.0+build.7", []string{"1.4.0_build.7", "v1.4.0_build.7"}},
		{"refs/tags/v1.4.0-rc.1+build.7", "", "1.4.0-rc.1+build.7", []string{"1.4.0-rc.1_build.7", "v1.4.0-rc.1_build.7"}},
		{"refs/tags/vote/v1.4.0", "", "1.4.0", []string{"1.4.0", "vote-v1.4.0"}},
		{"refs/tags/vote-v1.4.0-rc.1", "", "1.4.0-rc.1", []string{"1.4.0-rc.1", "vote-v1.4.0-rc.1"}},
		{"refs/tags/@team/vote@1.4.0", "", "1.4.0", []string{"1.4.0", "team-vote-1.4.0"}},
		{"refs/tags/nightly", "", "0.0.0-nightly.g0123456", []string{"0.0.0-nightly.g0123456", "nightly"}},
		{"refs/heads/feature/Über 100%", "", "0.0.0-feature-ber-100.g0123456", []string{"0.0.0-feature-ber-100.g0123456", "feature-ber-100-"}},
		{"refs/heads/007", "", "0.0.0-x007.g0123456", []string{"0.0.0-x007.g0123456", "007"}},
		{"refs/pull/42/merge", "", "0.0.0-pr-42.g0123456", []string{"0.0.0-pr-42.g0123456", "pr-42"}},
		{"refs/merge-requests/42/head", "", "0.0.0-pr-42.g0123456", []string{"0.0.0-pr-42.g0123456", "pr-42"}},
		{"refs/heads/gh-readonly-queue/release/1.2/pr-42-0123456789abcdef0123456789abcdef01234567", "", "0.0.0-pr-42.g0123456", []string{"0.0.0-pr-42.g0123456", "pr-42"}},
		{"HEAD", "", "0.0.0-HEAD.g0123456", []string{"0.0.0-HEAD.g0123456"}},
		{"", "", "0.0.0-x.g0123456", []string{"0.0.0-x.g0123456"}},
	} {
		t.Run(tc.ref, func(t *testing.T) {
			d := gitflow.Decide(c, tc.ref, commit)
			assert.Equal(t, tc.environment, d.Environment, d.Reason)
			assert.Equal(t, tc.version, d.Version)
			assert.Equal(t, tc.tags, d.Tags)
			assert.NotEmpty(t, d.Reason)
		})
	}
}

// parsed is a configuration with the patterns of two environments.
func parsed(t *testing.T, staging, production string) *config.Config {
	t.Helper()
	c, err := config.Parse("aksflow.yaml", []byte("app: vote\nenvironments:\n  staging: {registry: r, manifests: m, "+
		staging+"}\n  production: {registry: r, manifests: m, "+production+"}\n"))
	require.NoError(t, err)
	return c
}

func TestAPreReleaseIsNoRelease(t *testing.T) {
	for _, tc := range []struct{ staging, production, tag, want string }{
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0", "production"},
		{"branches: [x]", `tags: ["*"]`, "1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["v*.*.*"]`, "v1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["vote-v*"]`, "vote-v1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["vote-v*"]`, "vote-v1.2.0", "production"},
		{"branches: [x]", `tags: ["vote/v*"]`, "vote/v1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["v*", "v*-*"]`, "v1.2.0-rc.1", "production"},
		{"branches: [x]", `tags: ["v*-rc*"]`, "v1.2.0-rc.1", "production"},
		{"branches: [x]", `tags: ["v*-rc*"]`, "v1.2.0", ""},
		{"branches: [x]", `tags: ["v*-rc*"]`, "v1.2.0-beta.1", ""},
		{"branches: [x]", `tags: [v1.2.0-rc.1]`, "v1.2.0-rc.1", "production"},
		{`tags: ["v*-*"]`, `tags: ["v*"]`, "v1.2.0-rc.1", "staging"},
		{`tags: ["v*-*"]`, `tags: ["v*"]`, "v1.2.0", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0+build.5", "production"},
		{"branches: [x]", `tags: ["*"]`, "2026-11-26", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0+2026.11.26-5", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0-rc.1+2026.11.26-5", ""},
		{"branches: [x]", `tags: ["c++/v*"]`, "c++/v1.2.0-rc.1", ""},
		{"branches: [x]", `tags: ["c++/v*"]`, "c++/v1.2.0", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2-rc.1", ""},
		{"branches: [x]", `tags: ["v*"]`, "v1.2", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.3.4", "production"},
		{"branches: [x]", `tags: ["v*"]`, "v1.2.0rc1", ""},
		{"branches: [x]", `tags: ["*"]`, "1.2.0b2", ""},
		{"branches: [x]", `tags: ["*"]`, "1.2.0.dev3", ""},
		{"branches: [x]", `tags: ["*"]`, "1.2.0-SNAPSHOT", ""},
		{"branches: [x]", `tags: ["*rc*"]`, "1.2.0rc1", "production"},
		{"branches: [x]", `tags: ["*"]`, "1.2.0.Final", "production"},
		{"branches: [x]", `tags: ["*"]`, "2026.11-1", "production"},
		{"branches: [x]", `tags: ["*"]`, "1.2.0.post1", "production"},
	} {
		t.Run(tc.production+" "+tc.tag, func(t *testing.T) {
			d := gitflow.Decide(parsed(t, tc.staging, tc.production), "refs/tags/"+tc.tag, commit)
			assert.Equal(t, tc.want, d.Environment, d.Reason)
		})
	}
	d := gitflow.Decide(parsed(t, "branches: [x]", `tags: ["v*"]`), "refs/tags/v1.2.0-rc.1", commit)
	assert.Contains(t, d.Reason, "it is a pre-release, and v* of production is for releases: a pattern such as v*-* names pre-releases")
}

func TestTheNearestPatternIsNamed(t *testing.T) {
	c := parsed(t, `branches: ["release/*", develop]`, `branches: [main], tags: ["v*"]`)
	for ref, want := range map[string]string{
		"refs/heads/mian":         "the nearest pattern is main of production",
		"refs/heads/Main":         "the nearest pattern is main of production",
		"refs/heads/relase/1.2.0": "the nearest pattern is release/* of staging",
		"refs/heads/develp":       "the nearest pattern is develop of staging",
		"refs/tags/1.2.0":         "the nearest pattern is v* of production",
	} {
		assert.Contains(t, gitflow.Decide(c, ref, commit).Reason, want, ref)
	}
	assert.NotContains(t, gitflow.Decide(parsed(t, "branches: [x]", "branches: [y]"), "refs/tags/v1", commit).Reason, "nearest", "no environment has tags")
}

func TestADirtyWorkTreeHasAVersionOfItsOwn(t *testing.T) {
	c := parsed(t, "branches: [develop]", `tags: ["v*"]`)
	for ref, want := range map[string]string{
		"refs/heads/develop": "0.0.0-develop.g0123456-dirty", "refs/tags/v1.2.0+b": "1.2.0-dirty+b", "refs/tags/v1.2.0": "1.2.0-dirty",
	} {
		d := gitflow.Decide(c, ref, commit).Dirty()
		assert.Equal(t, want, d.Version)
		assert.True(t, semver.IsValid("v"+d.Version))
		assert.Equal(t, []string{gitflow.Tag(want)}, d.Tags, "the tags of the ref are for what is committed")
		assert.NotEmpty(t, d.Environment)
	}
	assert.Empty(t, gitflow.Decide(c, "", "").Dirty().Version, "outside of git")
}

func TestAVersionFitsALabel(t *testing.T) {
	d := gitflow.Decide(parsed(t, "branches: [x]", "branches: [y]"), "refs/heads/"+strings.Repeat("feature/long-", 10), commit)
	assert.LessOrEqual(t, len(d.Dirty().Version), 63)
	assert.Contains(t, d.Version, ".g0123456")
}

func TestTagsAreCut(t *testing.T) {
	long := make([]byte, 300)
	for i := range long {
		long[i] = 'a'
	}
	assert.Len(t, gitflow.Tag(string(long)), 128)
	assert.Empty(t, gitflow.Tag("…"))
}

var (
	ociTag = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// Whatever a branch is called, its image's tags and its version are valid.
func FuzzDecide(f *testing.F) {
	c, err := config.Load("../../../aksflow.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, ref := range []string{"refs/heads/main", "refs/tags/v1.2", "release/01.2.3", "refs/pull//", "refs/heads/-.-", "refs/tags/v1.0.0+0"} {
		f.Add(ref, commit)
	}
	f.Fuzz(func(t *testing.T, ref, sha string) {
		if !regexp.MustCompile(`^[0-9a-f]*$`).MatchString(sha) {
			t.Skip("not a commit")
		}
		d := gitflow.Decide(c, ref, sha)
		if (sha != "" || d.Version != "") && !semver.IsValid("v"+d.Version) {
			t.Errorf("%q: version %q", ref, d.Version)
		}
		for _, tag := range d.Tags {
			if !ociTag.MatchString(tag) {
				t.Errorf("%q: tag %q", ref, tag)
			}
		}
	})
}

// Each version that names a commit has a line, and no other one.
func TestLine(t *testing.T) {
	c, err := config.Parse("aksflow.yaml", []byte("app: vote\nenvironments: {dev: {registry: r, manifests: m}}\n"))
	require.NoError(t, err)
	for gitRef, want := range map[string]string{
		"refs/heads/develop": "0.0.0-develop", "refs/heads/release/1.2.0": "1.2.0-rc", "refs/pull/7/merge": "0.0.0-pr-7", "refs/tags/v1.2.0": "", "refs/tags/v1.2.0-rc.1": "",
	} {
		version := gitflow.Tag(gitflow.Decide(c, gitRef, "1a2b3c4d5e6f").Version)
		line, ok := gitflow.Line(version)
		assert.Equal(t, want != "", ok, version)
		if ok {
			assert.Equal(t, want, line)
		}
	}
}
