package appset

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The generators are those of Argo CD's documentation, on a repository of the shape that it uses.
func TestExpand(t *testing.T) {
	repository := fstest.MapFS{}
	for name, text := range map[string]string{
		"apps/web/kustomization.yaml": "", "apps/api/kustomization.yaml": "", "apps/old/kustomization.yaml": "", ".git/config": "",
		"envs/eu/prod.yaml": "cluster: {name: eu-1}\nreplicas: 3\n", "envs/us/prod.json": `[{"cluster": {"name": "us-1"}}, {"cluster": {"name": "us-2"}}]`,
	} {
		repository[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, test := range map[string]struct {
		generators, path string
		goTemplate       bool
		want             []string
		err              string
	}{
		"list":      {"[{list: {elements: [{env: a, values: {tag: '1'}}, {env: b}]}}]", "x/{{env}}/{{ values.tag }}", false, []string{"x/a/1", "x/b/{{ values.tag }}"}, ""},
		"list, go":  {"[{list: {elements: [{env: A, n: 2}]}}]", "x/{{.env | lower}}/{{.n}}", true, []string{"x/a/2"}, ""},
		"several":   {"[{list: {elements: [{env: a}]}}, {list: {elements: [{env: b}]}}]", "{{env}}", false, []string{"a", "b"}, ""},
		"directory": {"[{git: {repoURL: x, directories: [{path: apps/*}, {path: apps/old, exclude: true}]}}]", "{{path}} {{path.basename}} {{path[1]}}", false, []string{"apps/api api api", "apps/web web web"}, ""},
		"directory, go": {"[{git: {repoURL: x, directories: [{path: apps/w*}], values: {at: '{{.path.basename}}-1'}}}]",
			"{{.path.path}} {{index .path.segments 1}} {{.values.at}}", true, []string{"apps/web web web-1"}, ""},
		"files":             {"[{git: {repoURL: x, files: [{path: envs/**/prod.*}]}}]", "{{cluster.name}} {{path}} {{path.filename}}", false, []string{"eu-1 envs/eu prod.yaml", "us-1 envs/us prod.json", "us-2 envs/us prod.json"}, ""},
		"files, go":         {"[{git: {repoURL: x, pathParamPrefix: at, files: [{path: envs/eu/prod.yaml}]}}]", "{{.cluster.name}} {{.at.path.basename}}", true, []string{"eu-1 eu"}, ""},
		"matrix":            {"[{matrix: {generators: [{list: {elements: [{env: eu}, {env: us}]}}, {git: {repoURL: x, files: [{path: 'envs/{{env}}/*'}]}}]}}]", "{{env}} {{cluster.name}}", false, []string{"eu eu-1", "us us-1", "us us-2"}, ""},
		"merge":             {"[{merge: {mergeKeys: [env], generators: [{list: {elements: [{env: a, tag: 1}, {env: b, tag: 1}]}}, {list: {elements: [{env: b, tag: 2}, {env: c, tag: 3}]}}]}}]", "{{env}}{{tag}}", false, []string{"a1", "b2"}, ""},
		"clusters":          {"[{clusters: {}}]", "{{name}}", false, nil, "its generator clusters is not expanded offline"},
		"clusters inside":   {"[{matrix: {generators: [{list: {elements: [{env: a}]}}, {clusters: {}}]}}]", "{{name}}", false, nil, "generator clusters"},
		"selector":          {"[{list: {elements: [{env: a}]}, selector: {matchLabels: {env: b}}}]", "{{env}}", false, nil, "selector"},
		"elementsYaml":      {"[{list: {elementsYaml: '[]'}}]", "{{env}}", false, nil, "generator list is not expanded"},
		"other repository":  {"[{git: {repoURL: x, directories: [{path: none/*}]}}]", "{{path}}", false, nil, "finds nothing in this repository"},
		"unknown function":  {"[{list: {elements: [{env: a}]}}]", "{{.env | sha256sum}}", true, nil, "sha256sum"},
		"missing key":       {"[{list: {elements: [{env: a}]}}]", "{{.enw}}", true, nil, "enw"},
		"file of no object": {"[{git: {repoURL: x, files: [{path: text.txt}]}}]", "{{path}}", false, nil, "text.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			repository["text.txt"] = &fstest.MapFile{Data: []byte("words")}
			set := map[string]any{}
			require.NoError(t, yaml.Unmarshal([]byte("apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nspec: {goTemplateOptions: [\"missingkey=error\"], generators: "+test.generators+"}"), &set))
			spec := set["spec"].(map[string]any)
			spec["goTemplate"], spec["template"] = test.goTemplate, map[string]any{"spec": map[string]any{"source": map[string]any{"path": test.path}}}
			var document yaml.Node
			require.NoError(t, document.Encode(set))
			require.True(t, Is(&document))
			applications, err := Expand(&document, repository)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, a := range applications {
				var application struct {
					Spec struct{ Source struct{ Path string } }
				}
				require.NoError(t, a.Decode(&application))
				got = append(got, application.Spec.Source.Path)
			}
			assert.Equal(t, test.want, got)
		})
	}
}
