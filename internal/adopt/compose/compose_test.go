package compose_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/adopt/compose"
)

// read reads the Compose files of a repository, by PROJECT:SERVICE.
func read(files map[string]string) (services map[string]compose.Service, notices string) {
	var names []string
	for name := range files {
		if compose.IsFile(name) {
			names = append(names, name)
		}
	}
	all, said := compose.Read(names, func(name string) ([]byte, error) {
		text, found := files[name]
		if !found {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	})
	services = map[string]compose.Service{}
	for _, s := range all {
		services[s.Project+":"+s.Name] = s
	}
	return services, strings.Join(said, "\n")
}

func names(services map[string]compose.Service) (names []string) {
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// What a file includes is a part of it, with the paths and variables that Compose gives it.
func TestIncluded(t *testing.T) {
	services, notices := read(map[string]string{
		"compose.yaml": `
include:
- db/compose.yaml
- path: [web/compose.yaml, web/more.yaml]
  project_directory: .
  env_file: web/web.env
- ${DIR:-cache}/compose.yaml
services: {app: {build: ., depends_on: [postgres, web, redis]}}
`,
		"db/compose.yaml":    "include: [deeper.yaml]\nservices: {postgres: {image: 'postgres:${TAG}', volumes: ['./init.sql:/init.sql']}}\n",
		"db/.env":            "TAG=17\n",
		"db/deeper.yaml":     "services: {admin: {build: admin}}\n",
		"web/compose.yaml":   "services: {web: {image: 'web:${TAG}', build: {context: web}}}\n",
		"web/more.yaml":      "services: {web: {ports: ['80:8080']}}\n",
		"web/web.env":        "TAG=2\n",
		"cache/compose.yaml": "services: {redis: {image: redis}}\n",
	})
	assert.Empty(t, notices)
	assert.Equal(t, []string{"compose.yaml:admin", "compose.yaml:app", "compose.yaml:postgres", "compose.yaml:redis", "compose.yaml:web"}, names(services))
	postgres, web := services["compose.yaml:postgres"], services["compose.yaml:web"]
	assert.Equal(t, "postgres:17", postgres.Image)
	assert.Equal(t, []string{"db/init.sql"}, postgres.Mounts)
	assert.Equal(t, "db/compose.yaml", postgres.File)
	assert.Equal(t, "db/admin/Dockerfile", services["compose.yaml:admin"].Build.Path())
	assert.Equal(t, "web:2", web.Image)
	assert.Equal(t, "web/Dockerfile", web.Build.Path(), "relative to project_directory")
	assert.Equal(t, []string{"8080"}, web.Ports)
}

func TestIncludesThatCannotBeRead(t *testing.T) {
	for include, want := range map[string]string{
		"'oci://docker.io/team/stack:1'":       "compose.yaml includes oci://docker.io/team/stack:1, which is not a file of this repository",
		"https://github.com/team/x.git":        "which is not a file of this repository",
		"{path: ../other/compose.yaml}":        "compose.yaml includes ../other/compose.yaml, which is not a file of this repository",
		"gone/compose.yaml":                    "compose.yaml includes gone/compose.yaml, which is not there",
		"'${WHERE}/compose.yaml'":              "which is not a file of this repository",
		"compose.yaml":                         "",
		"{path: web.yaml, env_file: no.env}":   "",
		"{path: [web.yaml, [compose.yaml]]}":   "",
		"{paths: web.yaml}":                    "",
		"{path: web.yaml, env_file: [a, b]}":   "",
		"{path: {path: web.yaml}, unknown: 1}": "",
	} {
		services, notices := read(map[string]string{"compose.yaml": "include: [" + include + "]\nservices: {app: {build: .}}\n", "web.yaml": "services: {web: {build: .}}\n"})
		if want == "" {
			assert.Empty(t, notices, include)
		} else {
			assert.Contains(t, notices, want, include)
		}
		if include != "compose.yaml" && !strings.Contains(include, "[compose.yaml]") {
			assert.Contains(t, services, "compose.yaml:app", "the rest of the file is read: %s", include)
		}
	}
}

func TestBuild(t *testing.T) {
	for name, test := range map[string]struct {
		build string
		want  compose.Build
		path  string
	}{
		"a path":       {"web", compose.Build{Context: "app/web"}, "app/web/Dockerfile"},
		"no context":   {"{dockerfile: web.Dockerfile}", compose.Build{Context: "app", Dockerfile: "web.Dockerfile"}, "app/web.Dockerfile"},
		"a stage":      {"{context: .., target: '${STAGE:-release}'}", compose.Build{Context: ".", Target: "release"}, "Dockerfile"},
		"a repository": {"{context: 'https://github.com/team/x.git#main:sub'}", compose.Build{Context: "https://github.com/team/x.git#main:sub"}, ""},
		"inline":       {"{context: ., dockerfile_inline: 'FROM scratch'}", compose.Build{Context: "app", Inline: true}, ""},
		"arguments, as a mapping": {
			"{context: ., args: {A: 1, B: '${B:-b}', C: '${C}', D: null, E: '$$5'}}",
			compose.Build{Context: "app", Args: map[string]string{"A": "1", "B": "b", "E": "$5"}, Unset: []string{"C", "D"}}, "app/Dockerfile",
		},
		"arguments, as a list": {"{context: ., args: [A=1, B]}", compose.Build{Context: "app", Args: map[string]string{"A": "1"}, Unset: []string{"B"}}, "app/Dockerfile"},
		"further contexts":     {"{context: ., additional_contexts: [lib=../lib, 'base=docker-image://alpine']}", compose.Build{Context: "app", Contexts: []string{"base", "lib"}}, "app/Dockerfile"},
	} {
		t.Run(name, func(t *testing.T) {
			services, notices := read(map[string]string{"app/compose.yaml": "services: {web: {build: " + test.build + "}}\n", "app/.env": "A=2\nB=2\nC=2\n"})
			assert.Empty(t, notices)
			require.NotNil(t, services["app/compose.yaml:web"].Build)
			got := *services["app/compose.yaml:web"].Build
			assert.Equal(t, test.path, got.Path())
			assert.Equal(t, test.want.Context, got.Context)
			assert.Equal(t, test.want.Dockerfile, got.Dockerfile)
			assert.Equal(t, test.want.Target, got.Target)
			assert.Equal(t, test.want.Inline, got.Inline)
			assert.Equal(t, test.want.Contexts, got.Contexts)
			assert.Equal(t, test.want.Unset, got.Unset)
			if len(test.want.Args) > 0 {
				assert.Equal(t, test.want.Args, got.Args)
			}
		})
	}
}

// A build is changed where an override file, or a service that extends another one, says only a part of it.
func TestBuildInParts(t *testing.T) {
	services, notices := read(map[string]string{
		"compose.yaml": `
services:
  web: {build: {context: web, dockerfile: Web.Dockerfile, args: {A: 1, B: null}}}
  worker: {extends: {service: base, file: lib/base.yaml}, build: {target: worker}}
`,
		"compose.override.yaml": "services: {web: {build: {target: release, args: {B: 2}}}, extra: {image: x}}\n",
		"lib/base.yaml":         "services: {base: {build: src}}\n",
	})
	assert.Empty(t, notices)
	assert.Equal(t, []string{"compose.yaml:extra", "compose.yaml:web", "compose.yaml:worker"}, names(services))
	web := services["compose.yaml:web"].Build
	assert.Equal(t, "web/Web.Dockerfile", web.Path())
	assert.Equal(t, "release", web.Target)
	assert.Equal(t, map[string]string{"A": "1", "B": "2"}, web.Args)
	assert.Empty(t, web.Unset)
	worker := services["compose.yaml:worker"].Build
	assert.Equal(t, "lib/src/Dockerfile", worker.Path())
	assert.Equal(t, "worker", worker.Target)
}

// Files that include each other along many ways are left, with a notice, and others are read.
func TestIncludesInACircle(t *testing.T) {
	services, notices := read(map[string]string{
		"compose.yaml":       "include: [" + strings.Repeat("compose.yaml, ", 10) + "]\nservices: {web: {image: web}}\n",
		"other/compose.yaml": "include: [more.yaml]\nservices: {api: {image: api}}\n",
		"other/more.yaml":    "services: {db: {image: db}}\n",
	})
	assert.Contains(t, notices, "more than 1000, perhaps in a circle")
	assert.Contains(t, services, "other/compose.yaml:api")
	assert.Contains(t, services, "other/compose.yaml:db")
}
