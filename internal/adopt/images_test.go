package adopt_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt"
	"github.com/aksflow/aksflow/internal/core/config"
)

// stages is a Dockerfile with several stages and build arguments.
const stages = `FROM scratch AS base
EXPOSE 80
FROM base AS release
ARG VERSION MODE TOKEN API_URL PRICE
EXPOSE 8080
FROM base AS worker
FROM release AS dev
EXPOSE 9229
`

// The stage and the build arguments that a Compose file names are those of the image, unless they are for a developer's machine.
func TestBuildOfComposeFiles(t *testing.T) {
	for name, test := range map[string]struct {
		build  string
		want   config.Build
		ports  []string
		notice string
	}{
		"a stage":                     {"{context: ., target: Release}", config.Build{Target: "release"}, []string{"80", "8080"}, ""},
		"a stage for development":     {"{context: ., target: dev}", config.Build{Target: "release"}, []string{"80", "8080"}, ""},
		"a stage that is not there":   {"{context: ., target: gone}", config.Build{Target: "release"}, []string{"80", "8080"}, ""},
		"arguments":                   {"{context: ., args: {VERSION: 1, OTHER: 2, PRICE: '5$$'}}", config.Build{Target: "release", Args: map[string]string{"VERSION": "1", "PRICE": "5$$"}}, nil, ""},
		"a secret":                    {"{context: ., args: {VERSION: 1, TOKEN: x}}", config.Build{Target: "release", Args: map[string]string{"VERSION": "1"}}, nil, "compose.yaml gives the build of shop the argument TOKEN, which seems to be a secret"},
		"a secret from elsewhere":     {"{context: ., args: [TOKEN]}", config.Build{Target: "release"}, nil, "(`RUN --mount=type=secret,id=TOKEN`), and name it in aksflow.yaml under build.secrets"},
		"values of a developer":       {"{context: ., args: {MODE: development, API_URL: 'http://localhost:80'}}", config.Build{Target: "release"}, nil, "compose.yaml builds shop with API_URL=http://localhost:80, MODE=development, which is for a developer's machine"},
		"values from elsewhere":       {"{context: ., args: {VERSION: '${V}', OTHER: null}}", config.Build{Target: "release"}, nil, "compose.yaml takes the build argument VERSION of shop from elsewhere: write it into aksflow.yaml under build.args"},
		"further contexts":            {"{context: ., additional_contexts: {lib: ../lib}}", config.Build{Target: "release"}, nil, "compose.yaml builds shop with further build contexts (lib), which aksflow has not: let the Dockerfile copy what it needs of them from the top directory"},
		"a Dockerfile in that file":   {"{dockerfile_inline: FROM scratch}", config.Build{Target: "release"}, nil, "the service web of compose.yaml has its Dockerfile in that file (dockerfile_inline): write it to a file of its own in the top directory, and run init again"},
		"a Dockerfile somewhere else": {"'https://github.com/team/web.git'", config.Build{Target: "release"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": stages, "compose.yaml": "services: {web: {build: " + test.build + "}}\n"})
			require.NotNil(t, configs["shop"], "%v", p.Configs)
			got := configs["shop"].Build
			assert.Equal(t, test.want.Target, got.Target)
			assert.Equal(t, len(test.want.Args), len(got.Args), "%v", got.Args)
			for name, want := range test.want.Args {
				assert.Equal(t, want, got.Args[name])
			}
			if test.ports != nil {
				assert.Equal(t, test.ports, p.Services[0].Ports)
			}
			assert.Contains(t, strings.Join(p.Notices, "\n"), test.notice)
		})
	}
}

// Several images of one Dockerfile are an app each: what is built from different stages or with different arguments.
func TestImagesOfOneDockerfile(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"a Compose file": {"compose.yaml": `
services:
  api: {build: {context: ., target: release}, ports: ["80:8080"]}
  worker: {build: {context: ., target: worker}}
  mailer: {build: {context: ., target: worker}}
  tests: {build: {context: ., target: dev}}
  tool: {build: {context: ., target: base}, profiles: [tools]}
`},
		"arguments": {"Dockerfile": "FROM scratch\nARG APP\nEXPOSE 80\n", "compose.yaml": "services: {api: {build: {context: ., args: {APP: api}}, ports: [80]}, worker: {build: {context: ., args: {APP: worker}}}}\n"},
		"skaffold.yaml": {"skaffold.yaml": `
apiVersion: skaffold/v4beta13
build: {artifacts: [{image: team/api, docker: {target: release}}, {image: team/worker, docker: {target: worker}}]}
`},
		"docker-bake.hcl": {"docker-bake.hcl": `
target "api" {
  tags   = ["team/api:1"]
  target = "release"
}
target "api-debug" {
  inherits = ["api"]
  target   = "dev"
}
target "worker" {
  tags   = ["team/worker:1"]
  target = "worker"
}
`},
		"azure.yaml": {"azure.yaml": "services: {api: {project: ., host: aks, docker: {target: release}}, worker: {project: ., host: aks, docker: {target: worker}}}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if files["Dockerfile"] == "" {
				files["Dockerfile"] = stages
			}
			p, configs := propose(t, adopt.Options{Name: "shop"}, files)
			require.Len(t, configs, 2, "%v", p.Configs)
			assert.Equal(t, []string{"aksflow.api.yaml", "aksflow.worker.yaml"}, p.Configs)
			assert.NotEqual(t, [2]any{configs["api"].Build.Target, configs["api"].Build.Args}, [2]any{configs["worker"].Build.Target, configs["worker"].Build.Args})

			for _, f := range p.Files {
				files[f.Path] = f.Content
			}
			found, err := adopt.Find(write(t, files))
			require.NoError(t, err)
			_, err = found.Propose(t.Context(), adopt.Options{Name: "shop", Registry: "r.example", Target: config.Push})
			assert.ErrorContains(t, err, "nothing is left to set up")
		})
	}
}

// Names, contexts, Dockerfiles and manifests are those of azure.yaml.
func TestServicesOfAzd(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"azure.yaml": `
name: shop
services:
  web: {project: src/front, language: js, host: aks, docker: {context: ../..}}
  api: {project: src/back, language: py, host: aks}
  job: {project: src/job, language: py, host: aks}
  orders: {project: src/orders, language: py, host: aks}
`,
		"src/front/Dockerfile": "FROM scratch\nEXPOSE 80\n", "src/back/Dockerfile": "FROM scratch\nEXPOSE 8000\n", "src/orders/Dockerfile": "FROM scratch\nEXPOSE 81\n", "src/job/main.py": "",
		"src/front/manifests/deployment.tmpl.yaml": of(deployment, "web", "{{.Env.SERVICE_WEB_IMAGE_NAME}}"),
		"src/back/manifests/deployment.yaml":       of(deployment, "api", "api"),
		"k8s/deployment.yaml":                      of(deployment, "api", "api"),
		"src/orders/manifests/d.yaml":              strings.Replace(of(deployment, "orders", "orders"), "metadata:", "# {{ .Env.LOCATION }}\nmetadata:", 1),
	})
	require.Len(t, configs, 3, "%v", p.Configs)
	assert.Equal(t, ".", configs["web"].Build.Context)
	assert.Equal(t, "src/front/Dockerfile", configs["web"].Build.Dockerfile)
	assert.Equal(t, "manifests", configs["api"].Environments["dev"].Manifests)
	assert.Equal(t, "manifests", configs["orders"].Environments["dev"].Manifests, "a placeholder in a comment changes nothing")
	notices := strings.Join(p.Notices, "\n")
	assert.Contains(t, notices, "src/front/manifests has placeholders that azd fills in ({{ .Env.NAME }} for SERVICE_WEB_IMAGE_NAME), and cannot be deployed without it: what web needs of it")
	assert.Contains(t, notices, "the service job of azure.yaml is made by buildpacks, and only Dockerfiles can be built: write one in src/job, and run init again")
}

// azd edits kustomizations: it names the image, and writes a file with variables.
func TestKustomizationsOfAzd(t *testing.T) {
	files := map[string]string{
		"azure.yaml": `
services:
  api: {project: src/api, host: aks, k8s: {kustomize: {dir: ../../k8s/api, edits: ["set image orders=${SERVICE_API_IMAGE_NAME}"], env: {A: "${A}"}}}}
  web: {project: src/web, host: aks}
`,
		"src/api/Dockerfile": "FROM scratch\nEXPOSE 80\n", "src/web/Dockerfile": "FROM scratch\nEXPOSE 80\n",
		"k8s/api/kustomization.yaml": "resources: [d.yaml]\nconfigMapGenerator: [{name: api, envs: [.env]}]\n", "k8s/api/d.yaml": of(deployment, "orders", "orders"),
	}
	p, _ := propose(t, adopt.Options{Name: "shop"}, files)
	assert.Contains(t, strings.Join(p.Notices, "\n"), "k8s/api does not render without k8s/api/.env, which azd writes from k8s.kustomize.env of azure.yaml: write it")
	files["k8s/api/.env"] = "A=1\n"
	_, configs := propose(t, adopt.Options{Name: "shop"}, files)
	assert.Equal(t, "k8s/api", configs["api"].Environments["dev"].Manifests)
	assert.Equal(t, "orders", configs["api"].Image)
}

// skaffold.yaml says which image is built from which Dockerfile. Names are guessed only where it says nothing.
func TestImagesOfSkaffold(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"skaffold.yaml": `
apiVersion: skaffold/v4beta13
build:
  artifacts:
  - {image: front, context: src/ui}
  - {image: gcr.io/team/api, context: src, docker: {dockerfile: backend/Dockerfile}}
  - {image: mail, jib: {project: mail}}
manifests: {rawYaml: [deploy/shop/*.yaml]}
`,
		"src/ui/Dockerfile": "FROM scratch\nEXPOSE 80\n", "src/backend/Dockerfile": "FROM scratch\nEXPOSE 81\n", "src/front/Dockerfile": "FROM scratch\nEXPOSE 82\n",
		"deploy/shop/front.yaml": of(deployment, "front", "front"), "deploy/shop/api.yaml": of(deployment, "server", "gcr.io/team/api"),
		"deploy/shop/mail.yaml": of(deployment, "mail", "mail"), "old/front.yaml": of(deployment, "front", "front"),
	})
	assert.Equal(t, "deploy/shop", p.Services[indexOf(p, "api")].Manifests[0].Path)
	assert.Equal(t, "team/api", configs["api"].Image)
	assert.Equal(t, "src", p.Services[indexOf(p, "api")].Context)
	ui := p.Services[indexOf(p, "ui")]
	assert.Equal(t, "deploy/shop", ui.Manifests[0].Path, "what Skaffold deploys comes first")
	assert.Equal(t, []string{"Deployment/front"}, rendered(t, configs["ui"], "dev"))
	assert.Empty(t, p.Services[indexOf(p, "front")].Manifests, "the image of that name is another one's")
	assert.Contains(t, strings.Join(p.Notices, "\n"), "the image mail of skaffold.yaml is made by Jib, and only Dockerfiles can be built: write one in mail, and run init again")
}

func indexOf(p *adopt.Proposal, name string) int {
	return slices.IndexFunc(p.Services, func(s *adopt.Service) bool { return s.Name == name })
}

// Without a Dockerfile, what files of other tools say is what to do.
func TestImagesWithoutDockerfiles(t *testing.T) {
	found, err := adopt.Find(write(t, map[string]string{"skaffold.yaml": "apiVersion: skaffold/v4beta13\nbuild: {artifacts: [{image: team/api, ko: {}}]}\n", "main.go": "package main\n"}))
	require.NoError(t, err)
	_, err = found.Propose(t.Context(), adopt.Options{Name: "shop", Registry: "r.example", Target: config.Push})
	assert.ErrorContains(t, err, "the image team/api of skaffold.yaml is made by ko, and only Dockerfiles can be built: write one in the top directory, and run init again")
}

// A port may be a variable that the Dockerfile sets.
func TestPortsOfVariables(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"Dockerfile":   "FROM scratch\nARG ADMIN=9000\nARG METRICS\nENV PORT \"8080\"\nENV GRPC=50051 OTHER=\"$PORT\"\nEXPOSE $PORT ${GRPC}/tcp ${ADMIN} ${OTHER} ${NONE:-81} $METRICS $UNKNOWN\n",
		"compose.yaml": "services: {shop: {build: {context: ., args: {ADMIN: 9001, METRICS: 9100}}}}\n",
	})
	assert.Equal(t, []string{"8080", "50051", "9001", "81", "9100"}, p.Services[0].Ports)
}

// The Compose file for production comes over the one without a further name, in place of the override file for developers.
func TestComposeFileForProduction(t *testing.T) {
	for _, name := range []string{"docker-compose.prod.yml", "docker-compose-prod.yml", "docker-compose.production.yaml"} {
		_, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
			"Dockerfile":                  "FROM scratch\nARG API_URL\nEXPOSE 80\n",
			"docker-compose.yml":          "services: {web: {build: {context: ., args: {API_URL: 'http://localhost:80'}}}}\n",
			"docker-compose.override.yml": "services: {web: {build: {args: {API_URL: 'http://127.0.0.1'}}}}\n",
			name:                          "services: {web: {build: {args: {API_URL: 'https://api.example.com'}}}}\n",
		})
		assert.Equal(t, map[string]string{"API_URL": "https://api.example.com"}, configs["shop"].Build.Args, name)
	}
}

// What exposes no port by itself has that of the image that it is made from.
func TestPortsOfBaseImages(t *testing.T) {
	for from, want := range map[string][]string{
		"nginx:1.29-alpine": {"80"}, "docker.io/nginxinc/nginx-unprivileged": {"8080"}, "php:8.4-apache": {"80"}, "php:8.4-cli": nil, "postgres:17": {"5432"}, "node:22": nil,
		"node:22 AS build\nFROM nginx": {"80"}, "nginx\nEXPOSE 8081": {"8081"}, "nginx AS base\nFROM base": {"80"},
	} {
		p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": "FROM " + from + "\n"})
		assert.Equal(t, want, p.Services[0].Ports, from)
	}
}

// A target that is called after how it is made gives no name to the image.
func TestTargetsCalledAfterForms(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"docker/Dockerfile": "FROM scratch\nEXPOSE 80\n", "docker/lint/Dockerfile": "FROM scratch\n",
		"docker-bake.hcl": "target \"debian-amd64\" {\n  dockerfile = \"docker/Dockerfile\"\n}\n",
	})
	assert.Equal(t, "shop", p.Services[0].Name)
}

// Targets of docker-bake.hcl that have one repository make forms of one image, and one without an image is none.
func TestFormsOfOneImageInBakeFiles(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		"Dockerfile": "ARG BASE=alpine\nFROM scratch AS release\nARG BASE\nEXPOSE 80\nFROM release AS binary\n", "k8s/d.yaml": of(deployment, "front", "ghcr.io/team/front:1"),
		"docker-bake.hcl": `
variable "TAG" { default = "1" }
target "alpine" {
  tags   = ["ghcr.io/team/front:${TAG}-alpine"]
  target = "release"
  args   = { BASE = "alpine" }
}
target "debian" {
  tags   = ["ghcr.io/team/front:${TAG}"]
  target = "release"
  args   = { BASE = "debian" }
}
target "bin" {
  target = "binary"
  output = ["type=local,dest=bin"]
}
`})
	require.Len(t, configs, 1, "%v", p.Configs)
	assert.Equal(t, "release", configs["shop"].Build.Target)
	assert.Equal(t, "team/front", configs["shop"].Image)
	assert.Equal(t, "k8s", configs["shop"].Environments["dev"].Manifests)
}

// Where Compose reaches the image at another port than the Dockerfile exposes, that is the one; not where it runs it for a developer.
func TestPortsThatComposeReaches(t *testing.T) {
	const exposes = "FROM scratch AS dev\nFROM scratch\nEXPOSE 80 443\n"
	for service, want := range map[string][]string{
		"{build: ., ports: ['5200:8080']}":                          {"8080"},
		"{build: ., ports: ['5200:443', '5201:9000']}":              {"80", "443"},
		"{build: ., expose: ['8080']}":                              {"80", "443"},
		"{build: ., ports: ['5173:5173'], volumes: ['./src:/src']}": {"80", "443"},
		"{build: ., ports: ['5173:5173'], command: npm run dev}":    {"80", "443"},
		"{build: {context: ., target: dev}, ports: ['5173:5173']}":  {"80", "443"},
	} {
		p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": exposes, "src/a": "", "compose.yaml": "services: {web: " + service + "}\n"})
		assert.Equal(t, want, p.Services[0].Ports, service)
		said := slices.Contains(p.Notices, "Dockerfile exposes 80, 443, and compose.yaml reaches it at 8080: that is proposed")
		assert.Equal(t, len(want) == 1, said, "%v", p.Notices)
	}
}

// What exposes no port has the one that it is started with, which is said.
func TestPortsOfCommands(t *testing.T) {
	for lines, want := range map[string]string{
		`CMD ["uvicorn", "main:app", "--host", "0.0.0.0", "--port", "8000"]`: "8000, which its CMD names",
		`CMD gunicorn -w 4 -b 0.0.0.0:5000 app:app`:                          "5000, which its CMD names",
		`ENTRYPOINT ["gunicorn", "--bind=:5001", "app"]`:                     "5001, which its ENTRYPOINT names",
		"ENV PORT=3000\nCMD [\"node\", \"server.js\"]":                       "3000, which its variable PORT names",
		"ENV PORT 3001\nCMD serve --port $PORT":                              "3001, which its CMD names",
		"ARG PORT=1\nENV ASPNETCORE_HTTP_PORTS=5002":                         "5002, which its variable ASPNETCORE_HTTP_PORTS names",
		`CMD ["server", "--workers", "40", "--host", "0.0.0.0"]`:             "8080",
	} {
		p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": "FROM scratch\n" + lines + "\n"})
		assert.Equal(t, []string{"Dockerfile exposes no port: the Service is proposed with " + want}, p.Notices, lines)
	}
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": "ARG PORT=81\nFROM scratch\nARG PORT\nENV SET=1\nARG SET=2\nEXPOSE $PORT $SET\n"})
	assert.Equal(t, []string{"81", "1"}, p.Services[0].Ports, "an ARG before FROM, and an ENV that wins over an ARG")
}

// A Dockerfile that a Compose file names is one wherever it is; one that is not there is said.
func TestDockerfilesThatAreNamed(t *testing.T) {
	p, configs := propose(t, adopt.Options{Name: "shop"}, map[string]string{
		".docker/web": "FROM scratch\nEXPOSE 80\n", "vendor/sail/Dockerfile": "FROM scratch\nEXPOSE 81\n", "compose.yaml": `
services:
  web: {build: {context: ., dockerfile: .docker/web}}
  sail: {build: vendor/sail}
  api: {build: api}
  ui: {build: ui}
  far: {build: ../far}
  git: {build: "https://git.example/team/x.git"}
  unset: {build: "${WHERE}/x"}
  tool: {build: tool, profiles: [tools]}
`, ".gitmodules": "[submodule \"ui\"]\n\tpath = ui\n\turl = https://git.example/team/ui\n",
	})
	assert.Len(t, configs, 2)
	assert.Equal(t, []string{
		"the service api of compose.yaml is not set up: its Dockerfile api/Dockerfile is not there",
		"the service far of compose.yaml is not set up: its Dockerfile ../far/Dockerfile is outside of this directory; run init in one that holds it",
		"the service git of compose.yaml is not set up: it is built from https://git.example/team/x.git, which is elsewhere",
		"the service ui of compose.yaml is not set up: its Dockerfile ui/Dockerfile is not there: it is in the submodule ui, which `git submodule update --init` fetches",
		"the service unset of compose.yaml is not set up: ${WHERE}/x/Dockerfile, where its Dockerfile is, has variables without a value",
	}, p.Notices)
}

// A build argument without a value leaves open what is copied.
func TestBuildArgumentsThatNameFiles(t *testing.T) {
	p, _ := propose(t, adopt.Options{Name: "shop"}, map[string]string{"Dockerfile": "ARG GIVEN=x\nFROM scratch AS build\nARG ARTIFACT\nARG TARGETARCH\nARG GIVEN\nARG OWN=y\nCOPY ${ARTIFACT}.jar $GIVEN ${OWN} ${NONE:-z} bin-$TARGETARCH /\nFROM build\nEXPOSE 80\n"})
	assert.Equal(t, []string{"Dockerfile has no value for its build argument ARTIFACT (COPY ${ARTIFACT}.jar $GIVEN ${OWN} ${NONE:-z} bin-$TARGETARCH /): write one into aksflow.yaml under build.args. What it copies has to be in git, or made in the Dockerfile"}, p.Notices)
}
