package gitflow_test

import (
	"regexp"
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
		{"refs/heads/develop", "dev", "0.0.0-develop.g0123456", []string{"develop"}},
		{"develop", "dev", "0.0.0-develop.g0123456", []string{"develop"}},
		{"refs/heads/main", "production", "0.0.0-main.g0123456", []string{"main"}},
		{"refs/heads/release/1.4.0", "staging", "1.4.0-rc.g0123456", []string{"release-1.4.0"}},
		{"refs/heads/hotfix/v1.4.1", "staging", "1.4.1-rc.g0123456", []string{"hotfix-v1.4.1"}},
		{"refs/heads/release/spring", "staging", "0.0.0-release-spring.g0123456", []string{"release-spring"}},
		{"refs/heads/release/a/b", "", "0.0.0-release-a-b.g0123456", []string{"release-a-b"}},
		{"refs/tags/v1.4.0", "production", "1.4.0", []string{"v1.4.0", "1.4.0"}},
		{"refs/tags/v1.4.0-rc.1+build.7", "production", "1.4.0-rc.1+build.7", []string{"v1.4.0-rc.1_build.7", "1.4.0-rc.1_build.7"}},
		{"refs/tags/nightly", "", "0.0.0-nightly.g0123456", []string{"nightly", "0.0.0-nightly.g0123456"}},
		{"refs/heads/feature/Über 100%", "", "0.0.0-feature-ber-100.g0123456", []string{"feature-ber-100-"}},
		{"refs/heads/007", "", "0.0.0-x007.g0123456", []string{"007"}},
		{"refs/pull/42/merge", "", "0.0.0-pr-42.g0123456", []string{"pr-42"}},
		{"HEAD", "", "0.0.0-HEAD.g0123456", nil},
		{"", "", "0.0.0-x.g0123456", nil},
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
		if !semver.IsValid("v" + d.Version) {
			t.Errorf("%q: version %q", ref, d.Version)
		}
		for _, tag := range d.Tags {
			if !ociTag.MatchString(tag) {
				t.Errorf("%q: tag %q", ref, tag)
			}
		}
	})
}
