package ref

import (
	"go/build"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var digest = "sha256:" + strings.Repeat("0a", 32)

func TestRead(t *testing.T) {
	for s, want := range map[string]Ref{
		"":                                {},
		"vote":                            {Repository: "vote"},
		"vote:1":                          {Repository: "vote", Tag: "1"},
		"vote@" + digest:                  {Repository: "vote", Digest: digest},
		"h:5000/a/b:1@" + digest:          {Repository: "h:5000/a/b", Tag: "1", Digest: digest},
		"h:5000/a/b":                      {Repository: "h:5000/a/b"},
		"[::1]:5000/a":                    {Repository: "[::1]:5000/a"},
		"vote:":                           {Repository: "vote:"},
		"vote@":                           {Repository: "vote@"},
		"vote:${TAG}":                     {Repository: "vote", Tag: "${TAG}"},
		"vote:${TAG:=1.0}":                {Repository: "vote", Tag: "${TAG:=1.0}"},
		"vote:${TAG:-a/b}":                {Repository: "vote", Tag: "${TAG:-a/b}"},
		"${REGISTRY:-h:5000}/vote:v1":     {Repository: "${REGISTRY:-h:5000}/vote", Tag: "v1"},
		"vote@${DIGEST}":                  {Repository: "vote", Digest: "${DIGEST}"},
		"vote:$(TAG)":                     {Repository: "vote", Tag: "$(TAG)"},
		`vote:{{ .tag | default "a:b" }}`: {Repository: "vote", Tag: `{{ .tag | default "a:b" }}`},
		"vote:{{ .tag":                    {Repository: "vote", Tag: "{{ .tag"},
		"vote:}1{":                        {Repository: "vote", Tag: "}1{"},
	} {
		assert.Equal(t, want, Read(s), s)
	}
}

func TestCanonical(t *testing.T) {
	for s, want := range map[string][2]string{
		"redis":                        {"docker.io", "redis"},
		"library/redis":                {"docker.io", "redis"},
		"index.docker.io/redis":        {"docker.io", "redis"},
		"docker.io/library/redis":      {"docker.io", "redis"},
		"docker.io/library/a/b":        {"docker.io", "library/a/b"},
		"acme/web":                     {"docker.io", "acme/web"},
		"ACME.azurecr.io/library/web":  {"acme.azurecr.io", "library/web"},
		"localhost/web":                {"localhost", "web"},
		"localhost:5000/web":           {"localhost:5000", "web"},
		"[::1]:5000/web":               {"[::1]:5000", "web"},
		"BUILDHOST/web":                {"buildhost", "web"},
		"${REGISTRY}/web":              {"docker.io", "${REGISTRY}/web"},
		"example.com":                  {"docker.io", "example.com"},
		"registry-1.docker.io/acme/db": {"docker.io", "acme/db"},
	} {
		host, path := Read(s + ":1").Canonical()
		assert.Equal(t, want, [2]string{host, path}, s)
	}
	assert.True(t, Read("redis:7").SameRepository(Read("docker.io/library/redis@"+digest)))
	assert.False(t, Read("quay.io/redis").SameRepository(Read("redis")))
	assert.False(t, Read("quay.io/library/redis").SameRepository(Read("quay.io/redis")))
}

func TestShort(t *testing.T) {
	assert.Equal(t, "vote:1@sha256:0a0a0a0a0a0a", Read("acme.azurecr.io/team/vote:1@"+digest).Short())
	assert.Equal(t, "vote", Read("team/vote").Short())
	assert.Equal(t, "", Ref{}.Short())
	assert.Equal(t, "vote@${DIGEST}", Read("vote@${DIGEST}").Short())
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for s, want := range map[string]string{
		"":                                 "is empty",
		"https://acr.azurecr.io/a:1":       "remove https://, so that it begins with acr.azurecr.io",
		"oci://acr.azurecr.io":             "remove oci://, so that it begins with acr.azurecr.io",
		"acme/Vote":                        `repository "acme/Vote" is not valid`,
		"vote:":                            `repository "vote:" is not valid`,
		"vote:${TAG}":                      `tag "${TAG}" is not valid`,
		"vote@sha256:12":                   `digest "sha256:12" is not valid`,
		"vote@":                            `digest "" is not valid`,
		"a..b/c/vote":                      `repository "a..b/c/vote" is not valid`,
		"vote:" + strings.Repeat("1", 129): "tag",
		"h.io/" + strings.Repeat("a", 256): "has 256 characters",
		strings.Repeat("0a", 32):           "repository",
		" vote":                            "repository",
		"vote:1\n":                         "tag",
	} {
		_, err := Parse(s)
		assert.ErrorContains(t, err, want, s)
	}
}

func TestCheckRegistry(t *testing.T) {
	for _, s := range []string{"acr.azurecr.io", "localhost:5000", "ghcr.io/team", "[::1]:5000", "r"} {
		assert.NoError(t, CheckRegistry(s), s)
	}
	for s, want := range map[string]string{
		"https://acr.azurecr.io/": `"https://acr.azurecr.io/": want a host such as acr.azurecr.io`,
		"acr.azurecr.io/":         "want a host such as acr.azurecr.io",
		"http://localhost:5000":   "want a host such as localhost:5000",
		"acr azurecr.io":          "want a host such as myregistry.azurecr.io",
		"user@acr.azurecr.io":     "want a host such as myregistry.azurecr.io",
		"acr.azurecr.io:https":    "want a host such as myregistry.azurecr.io",
		"https://":                "want a host such as myregistry.azurecr.io",
		"":                        "want a host such as myregistry.azurecr.io",
	} {
		assert.ErrorContains(t, CheckRegistry(s), want, s)
	}
}

var seeds = []string{
	"", "redis", "library/redis:8", "localhost/x", "localhost:5000/x:1", "a/b@" + digest, "[::1]:5000/x:1", "x:5000/y", "A/b", "Ab.c/d",
	"acme.azurecr.io/team/vote:1@" + digest, "https://h/x", "a__b/c", "a___b", "a.-b/c:1", "h:/x", ":1", "@" + digest, "docker.io/x", "a:b:c",
	"vote:${TAG:=1}", "index.docker.io/library/x", strings.Repeat("0a", 32), "h.io:5000", "a@b@c", "x/", "/x", "a//b", "h:99999/x", "a-/b/c", "1.2.3.4/x",
}

func FuzzReadKeepsWhatWasWritten(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := Read(s)
		require.Equal(t, s, r.String())
		again := Read(r.Repository)
		require.Equal(t, r.Repository, again.String())
	})
}

// FuzzParse compares Parse with the two libraries whose grammar registries and runtimes use.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		judge, judgeErr := reference.ParseNormalizedNamed(s)
		if unsupportedDigest(s) {
			return
		}
		require.Equal(t, judgeErr == nil, err == nil, "distribution says %v about %q, and Parse %v", judgeErr, s, err)
		if err != nil {
			return
		}
		require.Equal(t, s, r.String())
		host, path := r.Canonical()
		if host == dockerHub && !strings.Contains(path, "/") {
			path = "library/" + path
		}
		if r.Host() != "registry-1.docker.io" && !strings.EqualFold(r.Host(), dockerHub) {
			require.Equal(t, strings.ToLower(reference.Domain(judge)), host)
			require.Equal(t, reference.Path(judge), path)
		}
		tagged, _ := judge.(reference.Tagged)
		require.Equal(t, tagged != nil, r.Tag != "")
		if tagged != nil {
			require.Equal(t, tagged.Tag(), r.Tag)
		}
		if digested, ok := judge.(reference.Digested); ok {
			require.Equal(t, digested.Digest().String(), r.Digest)
		}
		// go-containerregistry takes no host from upper-case letters, and wants two characters in a path.
		if upperCaseHost.MatchString(r.Host()) || len(path) < 2 || r.Digest != "" && !strings.HasPrefix(r.Digest, "sha256:") {
			return
		}
		parsed, err := name.ParseReference(s)
		if err != nil {
			return // it does not know every host, such as [::1]
		}
		require.Equal(t, path, parsed.Context().RepositoryStr())
	})
}

// unsupportedDigest reports whether s has a digest of an algorithm that no registry serves.
func unsupportedDigest(s string) bool {
	_, d, found := strings.Cut(s, "@")
	return found && !strings.HasPrefix(d, "sha256:") && !strings.HasPrefix(d, "sha512:")
}

func TestPackageIsALeaf(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	require.NoError(t, err)
	for _, imported := range p.Imports {
		assert.NotContains(t, imported, ".", "the package imports something beyond the standard library")
		assert.False(t, strings.HasPrefix(imported, "net"))
	}
}
