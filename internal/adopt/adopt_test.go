package adopt_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/schema"
)

const (
	deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers: [{name: NAME, image: "IMAGE"}]
`
	service = `apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, type: NodePort, ports: [{port: 80, nodePort: 31000}]}
`
)

func of(text, name, image string) string {
	return strings.NewReplacer("NAME", name, "IMAGE", image).Replace(text)
}

// write writes the files of a repository and returns its directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	return dir
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
}

// propose writes the files of a repository, finds them, and writes what is proposed. Whatever the repository is like, each
// proposed aksflow.yaml loads, and its manifests render.
func propose(t *testing.T, o adopt.Options, files map[string]string) (*adopt.Proposal, map[string]*config.Config) {
	t.Helper()
	dir := write(t, files)
	if o.Registry == "" {
		o.Registry = "myregistry.azurecr.io"
	}
	if o.Target == "" {
		o.Target = config.Push
	}
	found, err := adopt.Find(dir)
	require.NoError(t, err)
	p, err := found.Propose(t.Context(), o)
	require.NoError(t, err)
	for _, f := range p.Files {
		_, there := files[f.Path]
		assert.Equal(t, there, f.Exists, f.Path)
		if !f.Exists {
			writeFile(t, filepath.Join(dir, f.Path), f.Content)
		}
	}
	configs := map[string]*config.Config{}
	for i, name := range p.Configs {
		c, err := config.Load(filepath.Join(dir, name))
		require.NoError(t, err, name)
		assert.FileExists(t, filepath.Join(c.Abs(c.Build.Context), c.Build.Dockerfile))
		for _, e := range c.Environments {
			_, err := render.Render(t.Context(), c.Abs(e.Manifests), render.Options{
				Namespace: e.Namespace, Images: []render.Image{{Ref: "myregistry.azurecr.io/" + c.Image + "@sha256:" + strings.Repeat("0", 64)}},
			})
			assert.NoError(t, err, "%s: %s", name, e.Name)
		}
		configs[p.Services[i].Name] = c
	}
	return p, configs
}

func TestSharedManifestsAreSplit(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "voting"}, map[string]string{
		"vote/Dockerfile":   "FROM python AS base\nEXPOSE 80\n",
		"result/Dockerfile": "FROM node\nCOPY package.json .\n", "result/package.json": `{"scripts": {"test": "jest"}}`,
		"k8s/vote.yaml": of(deployment, "vote", "team/voting_vote"), "k8s/vote-service.yaml": of(service, "vote", ""),
		"k8s/result.yaml": of(deployment, "result", "team/voting_result"), "k8s/redis.yaml": of(deployment, "redis", "redis:8"),
	})
	assert.Equal(t, []string{"result/aksflow.yaml", "vote/aksflow.yaml"}, p.Configs)
	for _, c := range configs {
		assert.Equal(t, "voting-dev", c.Environments["dev"].Namespace, "services find each other by name in one namespace")
	}
	vote := configs["vote"]
	assert.Equal(t, "team/voting_vote", vote.Image)
	assert.Equal(t, "deploy", vote.Environments["dev"].Manifests)
	objects, err := render.Render(t.Context(), vote.Abs("deploy"), render.Options{Namespace: "default"})
	require.NoError(t, err)
	require.Len(t, objects, 2, "its Deployment and the Service in front of it")
	ports, err := yaml.Marshal(objects[1].Object)
	require.NoError(t, err)
	assert.NotContains(t, string(ports), "nodePort", "two environments in one cluster cannot have the same")
	assert.Contains(t, strings.Join(p.Notices, "\n"), "Deployment/redis in k8s: no image of it is built here, and it goes with result")
	text, err := os.ReadFile(configs["result"].Path())
	require.NoError(t, err)
	assert.Contains(t, string(text), "There are tests for JavaScript", "a stage is suggested")
}

func TestOverlaysAreEnvironments(t *testing.T) {
	kustomization := "resources: [../../base]\n"
	_, configs := propose(t, adopt.Options{Name: "shop", Branches: []string{"main", "develop"}}, map[string]string{
		"Dockerfile":                                    "FROM golang AS build\nFROM build AS test\nFROM scratch AS release\nEXPOSE 8080/tcp 53/udp\n",
		"deploy/base/kustomization.yaml":                "resources: [app.yaml]\n",
		"deploy/base/app.yaml":                          of(deployment, "web", "ghcr.io/team/shop:1.0"),
		"deploy/overlays/dev/kustomization.yaml":        kustomization + "namespace: shop-dev\n",
		"deploy/overlays/staging/kustomization.yaml":    kustomization + "namespace: shop-staging\n",
		"deploy/overlays/production/kustomization.yaml": kustomization + "namespace: shop\n",
	})
	c := configs["shop"]
	require.NotNil(t, c)
	assert.Equal(t, []string{"local", "dev", "staging", "production"}, c.Names(), "GitFlow's branches")
	assert.Equal(t, "team/shop", c.Image)
	assert.Equal(t, "test", c.Test.Unit.Target)
	assert.Equal(t, []string{"develop"}, c.Environments["dev"].Branches)
	for env, want := range map[string][2]string{"dev": {"dev", "shop-dev"}, "staging": {"staging", "shop-staging"}, "production": {"production", "shop"}} {
		assert.Equal(t, "deploy/overlays/"+want[0], c.Environments[env].Manifests)
		assert.Equal(t, want[1], c.Environments[env].Namespace, "the one that the overlay names")
	}
}

func TestComposeGivesWhatManifestsNeed(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "counter"}, map[string]string{
		"Dockerfile": "FROM python\n",
		"compose.yaml": `
services:
  web:
    build: .
    ports: ["127.0.0.1:8000:5000"]
    environment: {GREETING: hello, DB_PASSWORD: secret}
    depends_on: {redis: {condition: service_started}}
  redis: {image: "redis:8", expose: ["6379"]}
`,
	})
	c := configs["counter"]
	objects, err := render.Render(t.Context(), c.Abs(c.Environments["dev"].Manifests), render.Options{Namespace: "default"})
	require.NoError(t, err)
	assert.Len(t, objects, 4, "a Deployment and a Service for the app, and for redis")
	all := ""
	for _, f := range p.Files {
		all += f.Content
	}
	assert.Contains(t, all, "containerPort: 5000")
	assert.Contains(t, all, "containerPort: 6379")
	assert.Contains(t, all, `{name: GREETING, value: "hello"}`)
	assert.NotContains(t, all, "DB_PASSWORD")
	assert.Contains(t, strings.Join(p.Notices, "\n"), "counter gets no DB_PASSWORD")
}

// A directory with other YAML beside the manifests cannot be deployed as it is.
func TestManifestsAmongOtherFiles(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "front"}, map[string]string{
		"app/Dockerfile": "FROM nginx\nEXPOSE 80\n", "mkdocs.yml": "site_name: x\n",
		"all-in-one.yaml": of(deployment, "front", "mcr.example/azure-front:v1") + "---\n" + of(service, "front", ""),
	})
	assert.Equal(t, "azure-front", configs["front"].Image)
	assert.Equal(t, "deploy", configs["front"].Environments["dev"].Manifests)
	assert.Contains(t, strings.Join(p.Notices, "\n"), "the objects of front are proposed as copies")
}

func TestContextIsWhereFilesAreCopiedFrom(t *testing.T) {
	_, configs := propose(t, adopt.Options{Name: "mono"}, map[string]string{
		"build/package/Dockerfile": "FROM golang\nCOPY go.mod cmd ./\n", "go.mod": "module m\n", "cmd/main.go": "package main\n",
	})
	c := configs["mono"]
	require.NotNil(t, c, "%v", configs)
	assert.Equal(t, ".", c.Build.Context)
	assert.Equal(t, "build/package/Dockerfile", c.Build.Dockerfile)
}

func TestChart(t *testing.T) {
	_, configs := propose(t, adopt.Options{Name: "web", Target: config.Pull, Remote: "https://git.example/team/web.git"}, map[string]string{
		"Dockerfile":                           "FROM scratch\n",
		"charts/web/Chart.yaml":                "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"charts/web/values.yaml":               "image: {repository: ghcr.io/team/web, tag: v1}\n",
		"charts/web/templates/deployment.yaml": of(deployment, "web", "{{ .Values.image.repository }}:{{ .Values.image.tag }}"),
	})
	c := configs["web"]
	assert.Equal(t, "charts/web", c.Environments["production"].Manifests)
	assert.Equal(t, config.Pull, c.Environments["production"].Target)
	assert.Equal(t, []string{"ghcr.io/team/web"}, c.Environments["production"].GitOps.Replace)
}

func TestWhatIsThereStays(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web", CI: adopt.GitHub}, map[string]string{
		"Dockerfile": "FROM scratch\n", ".github/workflows/deliver.yml": "on: push\n", "deploy/README.md": "of another tool\n",
	})
	for _, f := range p.Files {
		assert.NotEqual(t, "deploy", path.Dir(f.Path), "a directory that is there is not written into")
	}
}

// The container of this repository and the one for others are the same, but for where aksflow is from.
func TestDevContainer(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web", DevContainer: true}, map[string]string{"Dockerfile": "FROM scratch\n"})
	file := p.Files[len(p.Files)-1]
	require.Equal(t, ".devcontainer/devcontainer.json", file.Path)
	read := func(text []byte) (c map[string]any) {
		require.NoError(t, json.Unmarshal(text, &c), "it has no comments, so that every tool reads it")
		return c
	}
	proposed := read([]byte(file.Content))
	assert.Equal(t, "web", proposed["name"])
	assert.Contains(t, file.Content, schema.URL)
	text, err := os.ReadFile("../../.devcontainer/devcontainer.json")
	require.NoError(t, err)
	own := read(text)
	for _, key := range []string{"name", "onCreateCommand", "remoteEnv", "customizations"} {
		assert.NotEmpty(t, proposed[key], key)
		assert.NotEmpty(t, own[key], key)
		delete(proposed, key)
		delete(own, key)
	}
	assert.Equal(t, own, proposed)
}

func TestNothingToBuild(t *testing.T) {
	dir := t.TempDir()
	found, err := adopt.Find(dir)
	require.NoError(t, err)
	_, err = found.Propose(t.Context(), adopt.Options{Name: "x", Registry: "r.example", Target: config.Push})
	assert.ErrorContains(t, err, "needs a Dockerfile")
}

func TestWhatIsSetUpIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"Dockerfile": "FROM scratch\n", "aksflow.yaml": "app: web\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	found, err := adopt.Find(dir)
	require.NoError(t, err)
	_, err = found.Propose(t.Context(), adopt.Options{Name: "web", Registry: "r.example", Target: config.Push})
	assert.ErrorContains(t, err, "is set up already")
}

func TestPipelines(t *testing.T) {
	for _, system := range adopt.Systems() {
		for name, files := range map[string]map[string]string{
			"one":     {"Dockerfile": "FROM scratch\n"},
			"several": {"a/Dockerfile": "FROM scratch\n", "b/Dockerfile": "FROM scratch\n"},
		} {
			t.Run(system+", "+name, func(t *testing.T) {
				p, _ := propose(t, adopt.Options{Name: "web", CI: system, Branches: []string{"main", "develop"}}, files)
				pipeline := p.Files[len(p.Files)-1]
				for _, c := range p.Configs {
					assert.Contains(t, pipeline.Content, c)
				}
				assert.NotContains(t, pipeline.Content, "<<")
				if system != adopt.Jenkins {
					assert.Contains(t, pipeline.Content, "develop")
					var parsed map[string]any
					assert.NoError(t, yaml.Unmarshal([]byte(pipeline.Content), &parsed))
				}
			})
		}
	}
}

// Each image has a name of its own, whatever the directories are called.
func TestNamesAreDistinct(t *testing.T) {
	const dockerfile = "FROM scratch\nEXPOSE 80\n"
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"one/api/Dockerfile": dockerfile, "two/api/Dockerfile": dockerfile, "two/api/Dockerfile.worker": dockerfile, "two/api/mail.dockerfile": dockerfile,
		"src/cart/src/Dockerfile": dockerfile, "src/cart/src/Dockerfile.debug": dockerfile,
		"one-api/Dockerfile": dockerfile, "Dockerfile": dockerfile, "Dockerfile.cron": dockerfile,
		"platform/services/of-a-very-long-name/that-nobody-can-read/api/Dockerfile": dockerfile,
	})
	names := map[string]string{}
	for _, s := range p.Services {
		names[path.Join(s.Context, s.Dockerfile)] = s.Name
	}
	assert.Equal(t, map[string]string{
		"src/cart/src/Dockerfile": "cart",
		"one-api/Dockerfile":      "one-api", "one/api/Dockerfile": "one-api-2",
		"two/api/Dockerfile": "two-api", "two/api/Dockerfile.worker": "two-api-worker", "two/api/mail.dockerfile": "two-api-mail",
		"Dockerfile": "shop", "Dockerfile.cron": "shop-cron",
		"platform/services/of-a-very-long-name/that-nobody-can-read/api/Dockerfile": "that-nobody-can-read-api",
	}, names)
}

// The stage that is suggested has the files and what the tests need, whatever the one before it holds.
func TestSuggestedStages(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"jest with npm": {
			map[string]string{"package.json": `{"scripts": {"test": "jest"}}`, "package-lock.json": "{}"},
			[]string{"FROM node:20 AS test", "COPY . .", "RUN npm ci --include=dev && npm install --no-save jest-junit", "JEST_JUNIT_OUTPUT_DIR=/reports npm test -- --reporters"},
		},
		"a script that calls another one": {
			map[string]string{"package.json": `{"scripts": {"test": "npm run unit"}, "devDependencies": {"vitest": "^3"}}`, "yarn.lock": ""},
			[]string{"RUN yarn install --production=false", `CMD ["npx", "vitest", "run"`},
		},
		"mocha without a lock file": {
			map[string]string{"package.json": `{"scripts": {"test": "mocha"}}`},
			[]string{"RUN npm install --include=dev\n", "npm test -- --reporter xunit --reporter-option output=/reports/unit.xml"},
		},
		"Node.js with pnpm": {
			map[string]string{"package.json": `{"scripts": {"test": "node --test"}}`, "pnpm-lock.yaml": ""},
			[]string{"RUN corepack enable && pnpm install", "--test-reporter-destination=/reports/unit.xml' pnpm test"},
		},
		"a runner that is not known": {
			map[string]string{"package.json": `{"scripts": {"test": "httpyac tests/base.http --all"}}`},
			[]string{"CMD: a command that writes JUnit XML", "httpyac tests/base.http --all"},
		},
		"below the context": {
			map[string]string{"src/package.json": `{"scripts": {"test": "jest"}}`},
			[]string{"COPY src .", "RUN npm install"},
		},
		"Python with requirements": {
			map[string]string{"test_app.py": "", "requirements.txt": "flask\n", "Dockerfile": "FROM python\nRUN pip install -r requirements.txt\n"},
			[]string{"RUN pip install -r requirements.txt pytest", "--junitxml=/reports/unit.xml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.files["Dockerfile"] == "" {
				test.files["Dockerfile"] = "FROM node:20\n"
			}
			p, _ := propose(t, adopt.Options{Name: "web"}, test.files)
			text := p.Files[len(p.Files)-1].Content
			for _, want := range test.want {
				assert.Contains(t, text, want)
			}
		})
	}
}

// What cannot be used is said, so that nobody believes that it is delivered.
func TestManifestsOfOthersAreSaid(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web"}, map[string]string{"Dockerfile": "FROM scratch\n", "k8s/redis.yaml": of(deployment, "redis", "redis:8")})
	assert.Contains(t, strings.Join(p.Notices, "\n"), "nothing in k8s runs an image that is built here")
	files := map[string]string{"Dockerfile": "FROM scratch\n"}
	for _, dir := range []string{"a", "b", "c", "d", "e"} {
		files[dir+"/redis.yaml"] = of(deployment, "redis", "redis:8")
	}
	p, _ = propose(t, adopt.Options{Name: "web"}, files)
	assert.Contains(t, strings.Join(p.Notices, "\n"), "nothing in a, b, c and 2 others runs an image that is built here, as far as names say (redis:8). If one of them is")
}

// What stands around aksflow.yaml files can be added later, with their branches. Everything else stays.
func TestPipelineOfWhatIsSetUp(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web", CI: adopt.GitHub, DevContainer: true}, map[string]string{
		"api/Dockerfile": "FROM scratch\n", "web/Dockerfile": "FROM scratch\n", "tests/aksflow.yaml": "app: t\nenvironments: {dev: {branches: [never]}}\n",
		"aksflow.yaml":     "app: front\nbuild: {context: web}\nenvironments: {dev: {branches: [trunk]}}\n",
		"aksflow.api.yaml": "app: api\nbuild: {context: ., dockerfile: api/Dockerfile}\n",
	})
	var names []string
	for _, f := range p.Files {
		names = append(names, f.Path)
	}
	assert.Equal(t, []string{".github/workflows/deliver.yml", ".devcontainer/devcontainer.json"}, names)
	for _, want := range []string{"aksflow.yaml", "aksflow.api.yaml", `"trunk"`} {
		assert.Contains(t, p.Files[0].Content, want)
	}
	assert.NotContains(t, p.Files[0].Content, "never")
	assert.NotContains(t, p.Files[0].Content, `"main"`)

	p, _ = propose(t, adopt.Options{Name: "web", CI: adopt.GitLab}, map[string]string{
		"api/Dockerfile": "FROM scratch\n", "web/Dockerfile": "FROM scratch\n", "api/aksflow.yaml": "app: api\n",
	})
	assert.Equal(t, []string{"web/aksflow.yaml"}, p.Configs)
	assert.Contains(t, p.Files[len(p.Files)-1].Content, "api/aksflow.yaml", "the pipeline delivers what was set up before, too")
}

// The error of a repository without an image says what to do, and nothing of what does not matter to it.
func TestNothingIsLeft(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"only manifests in k8s: aksflow needs a Dockerfile. Write one beside the code, and run init again": {"k8s/d.yaml": of(deployment, "web", "web:1")},
		": shop is set up already: aksflow.yaml":                                                           {"web/Dockerfile": "FROM scratch\n", "aksflow.yaml": "app: x\nbuild: {context: web}\n", "k8s/d.yaml": of(deployment, "redis", "redis:8")},
	} {
		found, err := adopt.Find(write(t, files))
		require.NoError(t, err)
		_, err = found.Propose(t.Context(), adopt.Options{Name: "shop", Registry: "r.example", Target: config.Push})
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "runs an image that is built here")
	}
}

// A repository without main and master delivers its default branch.
func TestDefaultBranch(t *testing.T) {
	files := map[string]string{"Dockerfile": "FROM scratch\n"}
	_, configs := propose(t, adopt.Options{Name: "web", Branches: []string{"develop", "release"}, DefaultBranch: "release"}, files)
	assert.Equal(t, []string{"release"}, configs["web"].Environments["production"].Branches)
	_, configs = propose(t, adopt.Options{Name: "web", Branches: []string{"trunk"}, DefaultBranch: "trunk"}, files)
	assert.Equal(t, []string{"trunk"}, configs["web"].Environments["dev"].Branches)
	_, configs = propose(t, adopt.Options{Name: "web", Branches: []string{"develop", "main"}, DefaultBranch: "develop"}, files)
	assert.Equal(t, []string{"main"}, configs["web"].Environments["production"].Branches)
}

// Another pipeline of the usual name stays, and the one that delivers stands beside it.
func TestPipelineBesideAnother(t *testing.T) {
	for system, want := range map[string][2]string{
		adopt.GitHub:         {".github/workflows/deliver.yml", ".github/workflows/aksflow.yml"},
		adopt.AzurePipelines: {"azure-pipelines.yml", "azure-pipelines.aksflow.yml"},
		adopt.GitLab:         {".gitlab-ci.yml", ".gitlab/aksflow.gitlab-ci.yml"},
		adopt.Jenkins:        {"Jenkinsfile", "Jenkinsfile.aksflow"},
	} {
		p, _ := propose(t, adopt.Options{Name: "web", CI: system}, map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", want[0]: "# Builds.\n"})
		last := p.Files[len(p.Files)-1]
		assert.Equal(t, want[1], last.Path)
		assert.False(t, last.Exists)
		require.Len(t, p.Notices, 1)
		assert.Contains(t, p.Notices[0], want[0]+" is another pipeline, and stays as it is: the one that delivers is proposed as "+want[1])

		p, _ = propose(t, adopt.Options{Name: "web", CI: system}, map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", want[0]: last.Content})
		assert.Equal(t, want[0], p.Files[len(p.Files)-1].Path, "it is written once")
		assert.True(t, p.Files[len(p.Files)-1].Exists)
	}
}

// A file of a tool that is not read is said.
func TestFilesOfOtherTools(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "web"}, map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 80\n", "deploy/helmfile.yaml": "releases: []\n"})
	assert.Equal(t, []string{"deploy/helmfile.yaml is not read: what Helmfile makes of images, values and manifests has to be written into aksflow.yaml"}, p.Notices)
}
