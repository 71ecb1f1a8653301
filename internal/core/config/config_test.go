package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestThisRepositorysConfiguration(t *testing.T) {
	c, err := Load("../../../aksflow.yaml")
	require.NoError(t, err)
	assert.Equal(t, "vote", c.Image)
	assert.Equal(t, []string{"local", "local-argocd", "local-flux", "dev", "staging", "production"}, c.Names())
	assert.Equal(t, Pull, c.Environments["production"].Target)
	assert.Equal(t, "manifests/overlays/production", c.Environments["production"].GitOps.Path)

	local, err := c.Expand("local", func(name string) (string, bool) {
		v, ok := map[string]string{"AKSFLOW_REGISTRY": "localhost:5000"}[name]
		return v, ok
	})
	require.NoError(t, err)
	assert.Equal(t, "localhost:5000/library/debian:trixie-slim", local.Build.Args["BASE"])
	none, err := c.Expand("", func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	assert.Equal(t, "debian:trixie-slim", none.Build.Args["BASE"])
	assert.Equal(t, "${BASE:-debian:trixie-slim}", c.Build.Args["BASE"], "the configuration itself stays as it is")
}

func TestRollout(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`
app: vote
environments:
  dev:
    registry: r.example
    manifests: m
    rollout: {strategy: canary, percent: [10, 50], pause: 30s, smoke: [{path: /healthz, body: ok}]}
`))
	require.NoError(t, err)
	assert.Equal(t, Rollout{
		Strategy: Canary, Percent: []int{10, 50}, Pause: 30 * time.Second, Smoke: []Smoke{{Path: "/healthz", Body: "ok"}},
	}, c.Environments["dev"].Rollout)
}

func TestTheProcessEnvironmentWins(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`
app: vote
build: {args: {BASE: "${BASE}"}}
environments: {dev: {registry: r.example, manifests: m, variables: {BASE: theirs}}}
`))
	require.NoError(t, err)
	out, err := c.Expand("dev", func(name string) (string, bool) { return "mine", name == "BASE" })
	require.NoError(t, err)
	assert.Equal(t, "mine", out.Build.Args["BASE"])
}

func TestFaultsNameThePlaceAndTheRemedy(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"unknown key", "app: vote\nbuild:\n  dockerflie: x\n", `aksflow.yaml:3:3: build.dockerflie: unknown key: did you mean "dockerfile"?`},
		{"unknown key in a list", "app: vote\ntest:\n  services:\n    - {name: redis, target: redis, port: [1]}\n",
			`aksflow.yaml:4:36: test.services[0].port: unknown key: did you mean "ports"?`},
		{"key of another place", "app: vote\nbuild:\n  namespace: x\n",
			"aksflow.yaml:3:3: build.namespace: unknown key: known are args, cache, context, dockerfile, platform, refresh, secrets, target"},
		{"refresh", "app: vote\nbuild: {refresh: 7 days}\n", `aksflow.yaml:2:18: build.refresh: "7 days": want a duration of an hour or more, such as 12h or 7d`},
		{"refresh in minutes", "app: vote\nbuild: {refresh: 5m}\n", `aksflow.yaml:2:18: build.refresh: "5m": want a duration of an hour or more`},
		{"key in a merged mapping", "app: vote\nenvironments:\n  a: &a {registry: r, manifests: m, regstry: r}\n  b: {<<: *a}\n",
			`aksflow.yaml:3:37: environments.a.regstry: unknown key: did you mean "registry"?`},
		{"anchor in itself", "app: vote\nenvironments: &a {b: *a}\n", "aksflow.yaml"},
		{"not YAML", "app: [vote\n", "aksflow.yaml:1: did not find expected ',' or ']'"},
		{"wrong type", "app: vote\ntest: {app: {port: many}}\n", `aksflow.yaml:2:20: test.app.port: want a whole number, found "many"`},
		{"list for text", "app: [vote]\n", "aksflow.yaml:1:6: app: want text, found a list"},
		{"text for a list", "app: vote\nenvironments: {dev: {registry: r, manifests: m, branches: main}}\n",
			`aksflow.yaml:2:59: environments.dev.branches: want a list, found "main"`},
		{"text for keys", "app: vote\nbuild: app\n", `aksflow.yaml:2:8: build: want keys with values, found "app"`},
		{"a list as the file", "- app\n", "aksflow.yaml:1:1: want keys with values, found a list"},
		{"empty", "# nothing\n", "aksflow.yaml is empty: give it at least an app"},
		{"no app", "image: vote\n", "aksflow.yaml: app: missing: name the application"},
		{"bad app", "app: Vote_App\n", `aksflow.yaml:1:6: app: "Vote_App": want a DNS label`},
		{"image with a tag", "app: vote\nimage: team/vote:1\n", `aksflow.yaml:2:8: image: "team/vote:1": want a repository path such as team/app, without registry, tag and digest`},
		{"target", "app: vote\nenvironments:\n  dev: {target: pul, registry: r, manifests: m}\n",
			`aksflow.yaml:3:17: environments.dev.target: "pul": want push or pull`},
		{"missing registry", "app: vote\nenvironments:\n  dev: {manifests: m}\n", `environments.dev.registry: missing: name the registry's host`},
		{"registry with a scheme", "app: vote\nenvironments:\n  dev: {registry: \"https://acr.azurecr.io/\", manifests: m}\n",
			`aksflow.yaml:3:19: environments.dev.registry: "https://acr.azurecr.io/": want a host such as acr.azurecr.io`},
		{"outside", "app: vote\nenvironments:\n  dev: {registry: r, manifests: ../m}\n", `"../m" leaves the directory of aksflow.yaml`},
		{"pull without repository", "app: vote\nenvironments:\n  dev: {registry: r, manifests: m, target: pull}\n", `environments.dev.gitops.repo: missing`},
		{"two services of a name", "app: vote\ntest: {services: [{name: a, image: a}, {name: a, image: b}]}\n",
			`test.services[1].name: "a" is there already`},
		{"two documents", "app: vote\n---\napp: more\n", "aksflow.yaml:2: a second YAML document"},
		{"key in the list of an anchor", "app: vote\nx-a: &a\n  - {name: r, target: r, port: [1]}\ntest: {services: *a}\n",
			`aksflow.yaml:3:26: test.services[0].port: unknown key: did you mean "ports"?`},
		{"almost an extension", "app: vote\nxtest: {}\n", `aksflow.yaml:2:1: xtest: unknown key: did you mean "test"?`},
		{"extension below the top", "app: vote\nbuild:\n  x-cache: a\n", `aksflow.yaml:3:3: build.x-cache: unknown key: did you mean "cache"?`},
		{"key twice in an extension", "app: vote\nx-a:\n  b: 1\n  b: 2\n", `aksflow.yaml:4: mapping key "b" already defined at line 3`},
		{"extension twice", "app: vote\nx-a: 1\nx-a: 2\n", `aksflow.yaml:3:1: x-a: this key is there already`},
		{"extension with an anchor in itself", "app: vote\nx-a: &a [*a]\n", "aksflow.yaml"},
		{"not UTF-8", "app: vote\n# Gr\xf6\xdfe\n", "aksflow.yaml:2: a character that is not in UTF-8: save the file in UTF-8"},
		{"UTF-16 without a mark", "a\x00p\x00p\x00", "aksflow.yaml:1: the file is in UTF-16 without a mark that says so: save it in UTF-8"},
		{"UTF-16, big-endian", "\x00a\x00p\x00p", "aksflow.yaml:1: the file is in UTF-16"},
		{"UTF-16 through a program that reads UTF-8", "\ufffd\ufffda\x00p\x00p\x00", "aksflow.yaml:1: the file is in UTF-16"},
		{"unknown key in UTF-16", "\xff\xfea\x00:\x00 \x001\x00", "aksflow.yaml:1:1: a: unknown key: known are app, build"},
		{"control character", "app: vote\n# ö\x07\n", `aksflow.yaml:2:4: the control character U+0007: remove it, or write "\u0007" in double quotes`},
		{"fraction", "app: vote\ntest: {app: {port: 80.5}}\n", `aksflow.yaml:2:20: test.app.port: want a whole number, found "80.5"`},
		{"item without a value", "app: vote\ntest: {unit: {target: t, command: [echo, null]}}\n",
			`aksflow.yaml:2:42: test.unit.command[1]: there is no value: remove the item, or write "" for an empty text`},
		{"service without a value", "app: vote\ntest:\n  services:\n  -\n", `test.services[0]: there is no value: remove the item`},
		{"spaces that are none", "app: vote\nbuild:\n\u00a0\u00a0context: a\n",
			"unknown key: it has the character U+00A0 in it, which cannot be seen: remove it, and indent with plain spaces"},
		{"nothing to see", "app: vote\n\u200bimage: a\n", "unknown key: it has the character U+200B in it"},
		{"no such anchor", "app: vote\n# *b\nbuild: *b\n", "aksflow.yaml:3: there is no anchor &b before this: define it, or quote a value that begins with *"},
		{"merge of nothing", "app: vote\nbuild: {<<: , context: a}\n", "build: << has no value: name an anchor, such as *defaults, or remove it"},
		{"refresh in a thousand years", "app: vote\nbuild: {refresh: -99999999999d}\n", "build.refresh: "},
		{"promoted from nowhere", "app: vote\nenvironments: {dev: {registry: r, manifests: m, from: x}}\n", "want one of several, and this is the only one"},
		{"same key twice", "app: vote\napp: more\n", `aksflow.yaml:2:1: app: this key is there already`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("aksflow.yaml", []byte(tc.file))
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.want)
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
}

func TestAMissingVariableNamesItsPlace(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte("app: vote\nbuild:\n  args:\n    BASE: ${BASE:?set it to your copy}\n"))
	require.NoError(t, err)
	out, err := c.Expand("", func(string) (string, bool) { return "", false })
	require.NoError(t, err, "a rollback needs no variable of a build")
	assert.ErrorContains(t, out.Build.Unset, "aksflow.yaml:4:11: build.args.BASE: ")
	assert.ErrorContains(t, out.Build.Unset, "set it to your copy")
	assert.NoError(t, out.Test.Unset)
}

func TestAnExpandedRegistryIsChecked(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte("app: vote\nenvironments:\n  dev: {registry: \"${REGISTRY}\", manifests: m}\n"))
	require.NoError(t, err)
	_, err = c.Expand("dev", func(string) (string, bool) { return "https://acr.azurecr.io", true })
	assert.ErrorContains(t, err, `aksflow.yaml:3:19: environments.dev.registry: "https://acr.azurecr.io": want a host such as acr.azurecr.io`)
	_, err = c.Expand("dev", func(string) (string, bool) { return "acr.azurecr.io", true })
	assert.NoError(t, err)
	_, err = c.Expand("dev", func(string) (string, bool) { return "", false })
	assert.ErrorContains(t, err, `aksflow.yaml:3:19: environments.dev.registry: "${REGISTRY}" is empty: set the variable that it names`)
}

func TestLoadOfNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	assert.ErrorContains(t, err, dir+" is a directory: name the file in it, such as "+filepath.Join(dir, "aksflow.yaml"))
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	_, err = Load(filepath.Join(dir, "aksflow.yaml"))
	assert.ErrorContains(t, err, "run aksflow where it is, or name it with --config")
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
}

// Any file is either read or refused as a misuse; none brings the process down.
func FuzzParse(f *testing.F) {
	own, err := os.ReadFile("../../../aksflow.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("app: vote\nenvironments: {dev: }\n"))
	f.Add([]byte("app: &a vote\nimage: *a\n"))
	f.Add([]byte("app: vote\nenvironments: &a {b: *a, <<: [*a]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("aksflow.yaml", data)
		if err != nil {
			if fault.ExitCode(err) != fault.ExitUsage {
				t.Fatalf("not a misuse: %v", err)
			}
			return
		}
		for _, name := range c.Names() {
			if c.Environments[name] == nil {
				t.Fatalf("the environment %q is named, but not there", name)
			}
		}
	})
}

func TestImageKeys(t *testing.T) {
	const head = "app: vote\nenvironments:\n  prod:\n    registry: r.example.com\n    manifests: m\n    target: pull\n    gitops:\n      repo: https://example.com/r\n      replace: [vote]\n      images:\n"
	c, err := Parse("aksflow.yaml", []byte(head+"      - {file: values.yaml, repository: a.b, tag: a.c}\n"))
	require.NoError(t, err)
	assert.Equal(t, []ImageKeys{{File: "values.yaml", Repository: "a.b", Tag: "a.c", Where: "aksflow.yaml:11"}}, c.Environments["prod"].GitOps.Images)
	for entry, want := range map[string]string{
		"{repository: a, tag: b}":                  "aksflow.yaml:11:9: environments.prod.gitops.images[0].file: missing",
		"{file: v.yaml, image: a, tag: b}":         "want either image",
		"{file: v.yaml}":                           "want either image",
		"{file: v.yaml, repository: a}":            "missing: the path of tag or digest",
		"{file: ../v.yaml, repository: a, tag: b}": "leaves the directory",
	} {
		_, err := Parse("aksflow.yaml", []byte(head+"      - "+entry+"\n"))
		require.ErrorContains(t, err, want)
	}
}

// The environment of tests is expanded, and it is public.
// An empty context is the current one, an empty repository that of the checkout, an empty key no signature: a variable that is
// not set must not choose these.
func TestExpandKeepsWhatHasNoValue(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`app: vote
environments:
  dev: {registry: r.example, manifests: m, target: pull, cluster: {kubeconfig: "${KUBECONFIG_DEV}", context: "$CONTEXT"}, sign: {key: "${KEY}"}, gitops: {repo: "${REPO}"}}
  may: {registry: r.example, manifests: m, cluster: {context: "${CONTEXT:-}"}}
`))
	require.NoError(t, err)
	for _, unset := range []Lookup{func(string) (string, bool) { return "", false }, func(string) (string, bool) { return "", true }} {
		out, err := c.Expand("dev", unset)
		require.NoError(t, err)
		e := out.Environments["dev"]
		assert.Equal(t, []string{"${KUBECONFIG_DEV}", "$CONTEXT", "${KEY}", "${REPO}"}, []string{e.Cluster.Kubeconfig, e.Cluster.Context, e.Sign.Key, e.GitOps.Repo})
		out, err = c.Expand("may", unset)
		require.NoError(t, err)
		assert.Empty(t, out.Environments["may"].Cluster.Context, "it says that it may be empty")
	}
	out, err := c.Expand("dev", func(name string) (string, bool) { return "of " + name, true })
	require.NoError(t, err)
	assert.Equal(t, "of CONTEXT", out.Environments["dev"].Cluster.Context)
}

func TestExpandOfTests(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`app: vote
test:
  unit: {target: t, env: {A: "${VALUE}", B: "${NONE:-default}", C: plain}}
  app: {env: {DB: "${DB_PASSWORD}"}, startTimeout: 2m}
  services: [{name: s, image: i, env: {PASSWORD: "${VALUE}"}}]
`))
	require.NoError(t, err)
	assert.Equal(t, 2*time.Minute, c.Test.App.StartTimeout)
	values := map[string]string{"VALUE": "value", "DB_PASSWORD": "hunter2"}
	out, err := c.Expand("", func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"A": "value", "B": "default", "C": "plain"}, out.Test.Unit.Env)
	assert.Equal(t, "${VALUE}", c.Test.Unit.Env["A"], "the original stays")
	assert.Equal(t, "value", out.Test.Services[0].Env["PASSWORD"])
	require.Len(t, out.Test.Warnings, 2)
	assert.Contains(t, out.Test.Warnings[0], "aksflow.yaml:4:19: test.app.env.DB: the value of DB_PASSWORD is public here")
	assert.Contains(t, out.Test.Warnings[0], "secrets: {DB: {env: DB_PASSWORD}}")
	assert.Contains(t, out.Test.Warnings[1], "test.services[0].env.PASSWORD")

	needed, err := Parse("aksflow.yaml", []byte("app: vote\ntest: {app: {env: {A: \"${NONE:?set it}\"}}}\n"))
	require.NoError(t, err)
	out, err = needed.Expand("", func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	assert.NoError(t, out.Build.Unset, "a build needs no variable of the tests")
	assert.ErrorContains(t, out.Test.Unset, "test.app.env.A: ")
	assert.ErrorContains(t, out.Test.Unset, "set it")
}

func TestVariablesOfTestsThatAreWarnedOf(t *testing.T) {
	warned := func(name, value string) []string {
		c, err := Parse("aksflow.yaml", []byte("app: vote\ntest: {app: {env: {"+name+": \""+value+"\"}}}\n"))
		require.NoError(t, err)
		out, err := c.Expand("", func(name string) (string, bool) { return "v", name != "NONE" })
		require.NoError(t, err)
		return out.Test.Warnings
	}
	for _, name := range []string{
		"PGPASSWORD", "DB_PASS", "dbPassword", "GITHUB_PAT", "npmToken", "NPM_TOKEN", "AWS_SECRET_ACCESS_KEY", "STORAGE_ACCOUNT_KEY",
		"APPLICATIONINSIGHTS_CONNECTION_STRING", "ConnectionString", "APIKEY", "SAS_TOKEN", "GPG_PASSPHRASE", "SSH_PRIVATE_KEY", "CREDENTIALS",
	} {
		assert.Len(t, warned("A", "${"+name+"}"), 1, name)
		assert.Len(t, warned(name, "${A}"), 1, name)
	}
	for _, name := range []string{"HOST", "COMPASS", "MAX_TOKENS", "PATH", "PATTERN", "BYPASS", "KEY", "PUBLIC_KEY", "PASSENGERS"} {
		assert.Empty(t, warned("A", "${"+name+"}"), name)
	}
	for value, want := range map[string]int{
		"${NONE}": 1, "$NONE": 1, "a${NONE}b": 1, "${NONE:-}": 0, "${NONE:-x}": 0, "${NONE-x}": 0, "$${NONE}": 0, "${SET}": 0, "no": 0,
	} {
		assert.Len(t, warned("A", value), want, value)
	}
	assert.Contains(t, warned("A", "${NONE}")[0], "aksflow.yaml:2:23: test.app.env.A: the variable NONE is not set, so its place is empty")
}

func TestSecretsOfTests(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`app: vote
test:
  unit: {target: t, secrets: {TOKEN: {env: T}}, cache: [/root/.cache]}
  app: {secrets: {KEY: {file: f}}}
  services: [{name: s, image: i, secrets: {TOKEN: {env: T}}, startTimeout: 90s}]
`))
	require.NoError(t, err)
	secrets, err := c.Test.Secrets()
	require.NoError(t, err)
	assert.Equal(t, map[string]Secret{"TOKEN": {Env: "T"}, "KEY": {File: "f"}}, secrets)
	for text, want := range map[string]string{
		"unit: {target: t, secrets: {A: {}}}":                                      "test.unit.secrets.A: want either env or file",
		"unit: {target: t, cache: [relative]}":                                     `test.unit.cache[0]: "relative": want the absolute path`,
		"app: {startTimeout: -1s}":                                                 "test.app.startTimeout: -1s: want a time such as 90s",
		"app: {startTimeout: soon}":                                                `test.app.startTimeout: want`,
		"unit: {target: t, secrets: {A: {env: X}}}, app: {secrets: {A: {env: Y}}}": "two secrets are named A",
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\ntest: {"+text+"}\n"))
		assert.ErrorContains(t, err, want)
	}
}

// Keys of the user's own hold what anchors refer to.
func TestExtensions(t *testing.T) {
	c, err := Parse("aksflow.yaml", []byte(`
x-environment: &environment
  registry: r.example
  manifests: m
x-redis: &redis {name: redis, image: "redis:8"}
x-note: whatever is here is not read
x-: [1, {a: b}]
app: vote
test: {services: [*redis, {<<: *redis, name: second}]}
environments:
  dev: {<<: *environment, branches: [develop]}
  staging: {<<: [*environment], manifests: n}
`))
	require.NoError(t, err)
	assert.Equal(t, "r.example", c.Environments["dev"].Registry)
	assert.Equal(t, "n", c.Environments["staging"].Manifests)
	assert.Equal(t, []Service{{Name: "redis", Image: "redis:8"}, {Name: "second", Image: "redis:8"}}, c.Test.Services)

	c, err = Parse("aksflow.yaml", []byte("\xef\xbb\xbfapp: vote\r\nimage: team/vote\r\n"))
	require.NoError(t, err, "a mark of UTF-8 and line ends of Windows")
	assert.Equal(t, "team/vote", c.Image)
	c, err = Parse("aksflow.yaml", []byte("\xff\xfea\x00p\x00p\x00:\x00 \x00v\x00\r\x00\n\x00"))
	require.NoError(t, err, "as PowerShell writes it")
	assert.Equal(t, "v", c.App)
}

func TestFaultsOfEnvironments(t *testing.T) {
	for text, want := range map[string]string{
		"rollout: {strategy: canary, percent: [50, 10]}": "rollout.percent[1]: 10: the stages of a canary grow, and each is between 1 and 99",
		"rollout: {percent: [0]}":                        "rollout.percent[0]: 0: the stages",
		"rollout: {percent: [10, 100]}":                  "rollout.percent[1]: 100: the stages",
		"rollout: {pause: -1s}":                          "rollout.pause: -1s: want a time such as 90s",
		"rollout: {smoke: [{path: healthz}]}":            `rollout.smoke[0].path: "healthz": want a path that begins with /`,
		"rollout: {smoke: [{status: 1000}]}":             "rollout.smoke[0].status: 1000: want a status of HTTP, 100 to 599",
		"rollout: {smoke: [{port: 99999}]}":              "rollout.smoke[0].port: 99999 is no port",
		"valuesFiles: ['']":                              "valuesFiles[0]: there is no value: remove the item",
		"namespaces: ['']":                               "namespaces[0]: there is no value: remove the item",
		"gitops: {replace: ['']}":                        "gitops.replace[0]: there is no value: remove the item",
		"gitops: {branch: refs/heads/main}":              `gitops.branch: "refs/heads/main": want the name of a branch without refs/heads/: main`,
		"gitops: {passwordEnv: glpat-secret}":            "gitops.passwordEnv: want the name of the variable that holds the password, such as GIT_TOKEN",
		"gitops: {path: ../x}":                           `gitops.path: "../x" leaves the directory`,
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\nenvironments: {dev: {registry: r, manifests: m, "+text+"}}\n"))
		require.ErrorContains(t, err, "environments.dev."+want)
		assert.NotContains(t, err.Error(), "secret", "it may be the password itself")
		assert.NotContains(t, err.Error(), "\n", "one mistake is one line")
	}
	for _, text := range []string{"rollout: {percent: [1, 99], smoke: [{port: http, path: /, status: 204}, {port: 80}]}", "gitops: {branch: release/main}"} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\nenvironments: {dev: {registry: r, manifests: m, "+text+"}}\n"))
		assert.NoError(t, err, text)
	}
	for _, text := range []string{"app: Vote_1\n", "app: vote\nenvironments: {dev: {registry: r, manifests: ../m}}\n"} {
		_, err := Parse("aksflow.yaml", []byte(text))
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "\n", "one mistake is one line")
	}
}

func TestYAMLDirective(t *testing.T) {
	for _, version := range []string{"1.1", "1.2"} {
		_, err := Parse("aksflow.yaml", []byte("%YAML "+version+"\n---\napp: vote\n"))
		assert.NoError(t, err, version)
	}
}
