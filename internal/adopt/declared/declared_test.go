package declared_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/adopt/declared"
)

func TestRead(t *testing.T) {
	for name, test := range map[string]struct {
		files   map[string]string
		want    []declared.Image
		notices []string
	}{
		"azure.yaml": {
			map[string]string{
				"azure.yaml": `
name: shop
services:
  api: {project: ./src/api, language: js, host: aks, docker: {path: ../docker/api.Dockerfile, context: .., target: release, buildArgs: [A=1, "B=${B}", C]}, k8s: {deploymentPath: ../../k8s}}
  bought: {host: aks, image: team/bought:1}
  job: {project: src/job, language: python, host: aks}
  net: {project: src/net/Net.csproj, language: dotnet, host: containerapp}
  site: {project: src/site, language: js, host: staticwebapp}
`,
				"src/docker/api.Dockerfile": "", "src/net/Net.csproj": "", "src/net/Dockerfile": "", "src/site/Dockerfile": "",
			},
			[]declared.Image{
				{File: "azure.yaml", Name: "api", Context: "src", Dockerfile: "src/docker/api.Dockerfile", Target: "release", Args: map[string]string{"A": "1"}, Unset: []string{"B", "C"}, Manifests: []string{"k8s"}},
				{File: "azure.yaml", Name: "job", Context: "src/job", Builder: "buildpacks", Args: map[string]string{}, Manifests: []string{"src/job/manifests"}},
				{File: "azure.yaml", Name: "net", Context: "src/net", Dockerfile: "src/net/Dockerfile", Args: map[string]string{}},
			}, nil,
		},
		"azure.yaml with kustomizations": {
			map[string]string{"azure.yaml": `
services:
  api:
    project: src/api
    host: aks
    k8s: {kustomize: {dir: ../../k8s/api, edits: ["add label a:b", "set image api-image=${SERVICE_API_IMAGE_NAME}"], env: {A: "${A}", B: 1}}}
`, "src/api/Dockerfile": ""},
			[]declared.Image{{
				File: "azure.yaml", Name: "api", Reference: "api-image", Context: "src/api", Dockerfile: "src/api/Dockerfile", Args: map[string]string{},
				Manifests: []string{"src/api/manifests", "k8s/api"}, Written: "k8s/api/.env",
			}}, nil,
		},
		"skaffold.yaml, v4": {
			map[string]string{"src/skaffold.yaml": `
apiVersion: skaffold/v4beta13
kind: Config
build:
  artifacts:
  - {image: team/web, context: web, docker: {dockerfile: build/Dockerfile, target: release, buildArgs: {A: "1", B: "{{.B}}"}}}
  - {image: api, jib: {project: api}}
  - image: worker
    ko: {}
  - image: mail
    buildpacks:
  - {image: db, context: db, kaniko: {dockerfile: Db}}
manifests: {rawYaml: [k8s/*.yaml, "https://example.com/x.yaml"], kustomize: {paths: [../base]}, helm: {releases: [{name: x, chartPath: charts/x}, {name: y, remoteChart: y}]}}
profiles:
- {name: prod, build: {artifacts: [{image: team/web}, {image: extra}]}, manifests: {kustomize: {paths: [../prod]}}}
`},
			func() []declared.Image {
				manifests := []string{"src/k8s/*.yaml", "base", "src/charts/x", "prod"}
				file := "src/skaffold.yaml"
				return []declared.Image{
					{File: file, Reference: "team/web", Context: "src/web", Dockerfile: "src/web/build/Dockerfile", Target: "release", Args: map[string]string{"A": "1"}, Unset: []string{"B"}, Manifests: manifests},
					{File: file, Reference: "api", Context: "src/api", Builder: "Jib", Manifests: manifests},
					{File: file, Reference: "worker", Context: "src", Builder: "ko", Manifests: manifests},
					{File: file, Reference: "mail", Context: "src", Builder: "buildpacks", Manifests: manifests},
					{File: file, Reference: "db", Context: "src/db", Dockerfile: "src/db/Db", Args: map[string]string{}, Manifests: manifests},
					{File: file, Reference: "extra", Context: "src", Dockerfile: "src/Dockerfile", Args: map[string]string{}, Manifests: manifests},
				}
			}(), nil,
		},
		"skaffold.yaml, v2, of several documents": {
			map[string]string{
				"skaffold.yaml": `
apiVersion: skaffold/v2beta29
kind: Config
requires: [{path: web}, {path: ./parts.yaml, configs: [a]}, {git: {repo: "https://github.com/team/other"}}]
---
apiVersion: skaffold/v2beta29
kind: Config
metadata: {name: two}
build: {artifacts: [{image: two}]}
deploy: {kubectl: {manifests: [k8s/two.yaml]}, kustomize: {paths: [k]}, helm: {releases: [{name: a, chartPath: c}]}}
`,
				"web/skaffold.yaml": "apiVersion: skaffold/v2beta29\nbuild: {artifacts: [{image: web}]}\n",
				"parts.yaml":        "apiVersion: skaffold/v2beta29\nmetadata: {name: a}\nbuild: {artifacts: [{image: part}]}\n",
				"other/azure.yml":   "services: {}\n",
			},
			[]declared.Image{
				{File: "web/skaffold.yaml", Reference: "web", Context: "web", Dockerfile: "web/Dockerfile", Args: map[string]string{}, Manifests: []string{"web/k8s/*.yaml"}},
				{File: "parts.yaml", Reference: "part", Context: ".", Dockerfile: "Dockerfile", Args: map[string]string{}, Manifests: []string{"k8s/*.yaml"}},
				{File: "skaffold.yaml", Reference: "two", Context: ".", Dockerfile: "Dockerfile", Args: map[string]string{}, Manifests: []string{"k8s/two.yaml", "k", "c"}},
			},
			[]string{"skaffold.yaml requires https://github.com/team/other: what is in another repository is not looked at"},
		},
		"docker-bake.hcl": {
			map[string]string{"build/docker-bake.hcl": `
variable "REGISTRY" { default = "ghcr.io/acme" }
variable "TAG" {}
group "default" { targets = ["server", "worker"] }
target "_common" {
  context = ".."
  args = { GO = "1.26", COMMIT = TAG, AT = timestamp() }
}
target "server" {
  inherits = ["_common"]
  target   = "server"
  tags     = ["${REGISTRY}/server:${TAG}", "other:1"]
}
target "worker" {
  inherits   = ["_common"]
  dockerfile = "docker/Worker"
  args       = { GO = 1 }
  tags       = [for t in ["a"] : t]
}
target "worker-all" {
  inherits  = ["worker"]
  platforms = ["linux/amd64"]
}
target "lint" { output = ["type=cacheonly"] }
target "binary" { output = ["./bin"] }
target "elsewhere" { context = "https://github.com/acme/x.git" }
target "inline" { dockerfile-inline = "FROM scratch" }
`, "docker-bake.json": `{"target": {"api": {"dockerfile": "api/Dockerfile", "tags": ["acme/api"], "output": ["type=registry"]}}}`, "x/docker-bake.hcl": "target {"},
			[]declared.Image{
				{File: "build/docker-bake.hcl", Name: "server", Reference: "ghcr.io/acme/server:", Context: ".", Dockerfile: "Dockerfile", Target: "server", Args: map[string]string{"GO": "1.26"}, Unset: []string{"AT", "COMMIT"}},
				{File: "build/docker-bake.hcl", Name: "worker-all", Context: ".", Dockerfile: "docker/Worker", Args: map[string]string{"GO": "1"}},
				{File: "docker-bake.json", Name: "api", Reference: "acme/api", Context: ".", Dockerfile: "api/Dockerfile", Args: map[string]string{}},
			}, []string{"x/docker-bake.hcl cannot be read: x/docker-bake.hcl:1,8-9: Unclosed configuration block; There is no closing brace for this block before the end of the file. This may be caused by incorrect brace nesting elsewhere in this file."},
		},
		"what is not what it is named": {
			map[string]string{"skaffold.yaml": "kind: Other\n", "azure.yaml": "services: [a]\n", "b/skaffold.yml": "a: [\n"},
			nil,
			[]string{
				"azure.yaml is read in part: line 1: cannot unmarshal !!seq",
				"b/skaffold.yml cannot be read: yaml: line 1: did not find expected node content",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var names []string
			for name := range test.files {
				if declared.IsFile(name) {
					names = append(names, name)
				}
			}
			images, notices := declared.Read(names, func(name string) ([]byte, error) {
				text, found := test.files[name]
				if !found {
					return nil, fs.ErrNotExist
				}
				return []byte(text), nil
			})
			assert.Equal(t, test.want, images)
			assert.Equal(t, test.notices, notices)
		})
	}
}

// Targets that inherit each other, and many of them along many ways, are read once each.
func TestBakeInheritsOnce(t *testing.T) {
	text := "target \"t0\" {\n  dockerfile = \"D\"\n  inherits = [\"t12\"]\n}\n"
	for n := 1; n <= 12; n++ {
		parents := strings.Repeat(fmt.Sprintf("%q, ", fmt.Sprint("t", n-1)), 10)
		text += fmt.Sprintf("target \"t%d\" {\n  inherits = [%s]\n  tags = [\"a/t%[1]d\"]\n}\n", n, parents)
	}
	images, notices := declared.Read([]string{"docker-bake.hcl"}, func(string) ([]byte, error) { return []byte(text), nil })
	assert.Empty(t, notices)
	var names []string
	for _, i := range images {
		assert.Equal(t, "D", i.Dockerfile, i.Name)
		names = append(names, i.Name)
	}
	assert.Contains(t, names, "t12")
}

// Paths of a target are relative to where Buildx is started, which may be the top.
func TestBakeFromTheTop(t *testing.T) {
	files := map[string]string{"docker/docker-bake.hcl": "target \"web\" {\n  dockerfile = \"docker/Dockerfile.web\"\n}\ntarget \"api\" {\n  dockerfile = \"Dockerfile.api\"\n}\n", "docker/Dockerfile.web": "", "docker/Dockerfile.api": ""}
	images, notices := declared.Read([]string{"docker/docker-bake.hcl"}, func(name string) ([]byte, error) {
		if text, found := files[name]; found {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	})
	assert.Empty(t, notices)
	assert.Len(t, images, 2)
	assert.Equal(t, []string{"docker", "docker/Dockerfile.api"}, []string{images[0].Context, images[0].Dockerfile})
	assert.Equal(t, []string{".", "docker/Dockerfile.web"}, []string{images[1].Context, images[1].Dockerfile})
}
