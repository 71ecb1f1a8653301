package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/schema"
)

var update = flag.Bool("update", false, "write the schema")

const file = "aksflow.schema.json"

// generate makes the schema of the types of package config: their comments become descriptions, and what config.Load
// checks beyond the types is added by rule.
func generate(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Anonymous: true,
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			if of == reflect.TypeFor[time.Duration]() {
				return &jsonschema.Schema{Type: "string", Pattern: span, Examples: []any{"90s", "2m"}}
			}
			return nil
		},
	}
	comments := map[string]string{}
	for _, of := range []string{"config", "gate"} {
		require.NoError(t, r.AddGoComments("github.com/aksflow/aksflow/internal/core/"+of, "../internal/core/"+of))
		for name, text := range r.CommentMap { // a package's path is made of its directory
			if at := strings.LastIndex(name, "/"+of+"."); at >= 0 {
				comments["github.com/aksflow/aksflow/internal/core"+name[at:]] = strings.Join(strings.Fields(text), " ")
			}
		}
	}
	r.CommentMap = comments
	s := r.Reflect(&config.Config{})
	s.ID, s.Title = schema.URL, "aksflow.yaml"
	for name, of := range s.Definitions {
		of.Description = ""
		rules(t, name, of)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	require.NoError(t, enc.Encode(s))
	return out.Bytes()
}

func TestSchemaIsUpToDate(t *testing.T) {
	want := generate(t)
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644))
		return
	}
	assert.Equal(t, string(want), string(schema.JSON), "run: go test ./schema -update")
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	content, err := validator.UnmarshalJSON(bytes.NewReader(schema.JSON))
	require.NoError(t, err)
	c := validator.NewCompiler()
	require.NoError(t, c.AddResource(schema.URL, content))
	s, err := c.Compile(schema.URL)
	require.NoError(t, err)
	return s
}

// validate checks a text of aksflow.yaml with the schema alone.
func validate(t *testing.T, s *validator.Schema, text string) error {
	t.Helper()
	var value any
	require.NoError(t, yaml.Unmarshal([]byte(text), &value), text)
	data, err := json.Marshal(value)
	require.NoError(t, err)
	instance, err := validator.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return s.Validate(instance)
}

// TestExamples validates each aksflow.yaml and aksflow.NAME.yaml of the repository, and each example of one in the documentation.
func TestExamples(t *testing.T) {
	s := compiled(t)
	files, examples := 0, 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"bin", "testdata"}, d.Name())):
			return filepath.SkipDir
		case configurationName.MatchString(d.Name()):
			files++
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.NoError(t, validate(t, s, string(text)), path)
			_, err = config.Parse(path, text)
			assert.NoError(t, err, path)
			assert.True(t, strings.HasPrefix(string(text), "# yaml-language-server: $schema="), "%s: the first line names the schema", path)
		case filepath.Ext(path) == ".md":
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, example := range configurations(string(text)) {
				examples++
				assert.NoError(t, validate(t, s, example), "%s:\n%s", path, example)
				_, err = config.Parse(path, []byte(example))
				assert.NoError(t, err, "%s:\n%s", path, example)
			}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Positive(t, files)
	assert.Positive(t, examples, "the walk finds examples")
}

// configurationName matches the names that init gives: one for each image.
var configurationName = regexp.MustCompile(`^aksflow(\.[^/]*)?\.yaml$`)

var block = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// configurations are the whole files of aksflow.yaml that a text shows: those that name an app.
func configurations(text string) []string {
	var found []string
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "app: ") || strings.Contains(m[1], "\napp: ") {
			found = append(found, m[1])
		}
	}
	return found
}

// TestMistakes gives the same mistakes to the schema and to config.Load. Both refuse them.
func TestMistakes(t *testing.T) {
	const good = `
app: vote
build: {context: app, args: {PORT: 8080}}
test:
  unit: {target: test}
  app: {startTimeout: 90s, env: {DEBUG: true}}
  services: [{name: redis, image: "redis:8"}]
environments:
  dev: {branches: [develop], registry: myregistry.azurecr.io, manifests: manifests, namespace: vote-dev}
  local: {platform: local, manifests: manifests}
`
	s := compiled(t)
	require.NoError(t, validate(t, s, good))
	_, err := config.Parse("aksflow.yaml", []byte(good))
	require.NoError(t, err)
	for name, change := range map[string][2]string{
		"no app":                   {"app: vote\n", ""},
		"app is no label":          {"app: vote", "app: Vote_1"},
		"unknown key":              {"build:", "biuld:"},
		"unknown key below":        {"{context: app", "{contxt: app"},
		"not a list":               {"branches: [develop]", "branches: develop"},
		"suite without a stage":    {"unit: {target: test}", "unit: {reports: /r}"},
		"service without an image": {`{name: redis, image: "redis:8"}`, "{name: redis}"},
		"service with both":        {`image: "redis:8"}`, `image: "redis:8", target: redis}`},
		"service without a name":   {"name: redis, ", ""},
		"not a time":               {"90s", "soon"},
		"unknown target":           {"namespace: vote-dev", "target: puhs"},
		"unknown platform":         {"platform: local", "platform: lokal"},
		"no registry":              {"registry: myregistry.azurecr.io, ", ""},
		"no manifests":             {", manifests: manifests, namespace", ", namespace"},
		"pull without a repo":      {"namespace: vote-dev", "target: pull"},
		"namespace is no label":    {"namespace: vote-dev", "namespace: Vote"},
		"strategy":                 {"namespace: vote-dev", "rollout: {strategy: cannary}"},
		"operator":                 {"namespace: vote-dev", "gitops: {operator: argo}"},
		"cluster":                  {"namespace: vote-dev", "cluster: {aks: {name: a}}"},
		"two clusters":             {"namespace: vote-dev", "cluster: {context: c, aks: {name: a, resourceGroup: g, subscription: s}}"},
		"secret without a source":  {"{context: app,", "{context: app, secrets: {t: {}},"},
		"environment's name":       {"  dev: {", "  Dev: {"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, change[0])
			text := strings.Replace(good, change[0], change[1], 1)
			assert.Error(t, validate(t, s, text), "the schema")
			_, err := config.Parse("aksflow.yaml", []byte(text))
			assert.Error(t, err, "config.Load")
		})
	}
}
