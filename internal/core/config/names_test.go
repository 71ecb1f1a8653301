package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPatternsOfCISystemsAreRefused(t *testing.T) {
	const before = "app: vote\nenvironments:\n  dev:\n    registry: r\n    manifests: m\n    branches: ["
	for pattern, want := range map[string]string{
		"refs/heads/main":       `aksflow.yaml:6:16: environments.dev.branches[0]: "refs/heads/main" matches no git ref: patterns are for names without refs/heads/: want main`,
		"refs/tags/v*":          "patterns are for names without refs/tags/: want v*",
		"!main":                 "no pattern excludes names: the first environment of the file with a pattern that fits is taken",
		"v[0-9]+.[0-9]+.[0-9]+": "+ is a character like others here: want v[0-9]*.[0-9]*.[0-9]*",
		"/^release-.*$/":        "it looks like a regular expression",
		"^main$":                "it looks like a regular expression",
		`v\d+`:                  "it looks like a regular expression",
		"${BRANCH}":             "variables are not expanded in patterns",
		"":                      "it is empty",
	} {
		_, err := Parse("aksflow.yaml", []byte(before+"'"+pattern+"']\n"))
		assert.ErrorContains(t, err, want, pattern)
	}
	for _, pattern := range []string{"main", "release/**", "v[0-9]*", "v[^a]*", "{main,develop}", "1.2.3+build", "feature/a!b", "v?.*", "users/$me"} {
		_, err := Parse("aksflow.yaml", []byte(before+"'"+pattern+"']\n"))
		assert.NoError(t, err, pattern)
	}
}

func TestNamesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"build: {platform: 'linux/amd64,linux/arm64'}":                                        `aksflow.yaml:2:19: build.platform: "linux/amd64,linux/arm64": an image is built for one platform`,
		"build: {platform: arm64}":                                                            `build.platform: "arm64": want the system, too: linux/arm64`,
		"build: {platform: linux/x86_64}":                                                     `build.platform: "linux/x86_64": want linux/amd64`,
		"build: {platform: linux/}":                                                           `build.platform: "linux/": want a platform such as linux/arm64`,
		"build: {args: {A B: x}}":                                                             `build.args.A B: "A B" is no name of an ARG`,
		"build: {args: {A: }}":                                                                `aksflow.yaml:2:16: build.args.A: there is no value: write "" for an empty one, and "${A:-}" for that of a variable`,
		`build: {context: 'app\src'}`:                                                         `build.context: "app\\src": want a path below the directory of aksflow.yaml, with / between its parts`,
		"build: {context: 'C:/src'}":                                                          `build.context: "C:/src": want a path below the directory of aksflow.yaml`,
		"test: {unit: {target: t, env: {'A=B': x}}}":                                          `test.unit.env.A=B: "A=B" is no name of a variable`,
		"test: {app: {port: 99999}}":                                                          "test.app.port: 99999 is no port: want a number from 1 to 65535",
		"test: {app: {name: 'my app'}}":                                                       `test.app.name: "my app": want a host name`,
		"test: {services: [{name: 'a b', image: redis}]}":                                     `test.services[0].name: "a b": want a host name`,
		"test: {services: [{name: app, image: redis}]}":                                       `test.services[0].name: "app" is there already`,
		"test: {services: [{name: a, image: 'Redis:8'}]}":                                     `test.services[0].image: image reference "Redis:8": repository "Redis" is not valid`,
		"test: {services: [{name: a, image: redis, ports: [6379, 0]}]}":                       "test.services[0].ports[1]: 0 is no port",
		"environments: {dev: {registry: 'A.azurecr.io/Team', manifests: m}}":                  `environments.dev.registry: "A.azurecr.io/Team": the path of a repository has no capital letters: want A.azurecr.io/team`,
		"environments: {dev: {registry: r, manifests: m, branches: [**]}}":                    `aksflow.yaml:2: did not find expected alphabetic or numeric character: quote a value that begins with * or &, such as "**"`,
		"environments: {dev: {registry: ${REGISTRY}, manifests: m}}":                          `quote a value that has braces in it, such as "${NAME}"`,
		"build:\n\tcontext: .":                                                                "indent with spaces, not with tabs",
		"environments: {<<: {a: {registry: r}}, dev: {registry: r, manifests: m}}":            "aksflow.yaml:2:24: environments.a.manifests: missing",
		"environments: {<<: [{a: {registry: r, manifests: m}}, {b: {}}], dev: {manifests: }}": "aksflow.yaml:2:59: environments.b.manifests: missing",
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\n"+text+"\n"))
		assert.ErrorContains(t, err, want, text)
	}
	for _, text := range []string{
		"build: {platform: linux/arm/v7}", "build: {args: {A: '', B: 1}}", "test: {services: [{name: my_db.local, image: '${REGISTRY}/Db'}]}",
		"test: {unit: {target: t, env: {'a.b-c': ''}}}",
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\n"+text+"\n"))
		assert.NoError(t, err, text)
	}
}

// Environments that a merge key brings in are environments.
func TestEnvironmentsOfAMergeKey(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`app: vote
environments:
  dev: &dev {registry: r.example, manifests: m, branches: [develop]}
  <<:
    - {preview: {<<: *dev, branches: ["feature/*"]}}
    - {dev: {}, production: {<<: *dev, branches: [main]}}
`))
	require.NoError(t, err)
	assert.Equal(t, []string{"dev", "preview", "production"}, c.Names())
	assert.Equal(t, []string{"develop"}, c.Environments["dev"].Branches)
	assert.Equal(t, "r.example", c.Environments["production"].Registry)
	assert.Equal(t, []string{"main"}, c.Environments["production"].Branches)
}
