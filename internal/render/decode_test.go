package render_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/tool"
)

// streams are inputs that people give to kubectl, with what it makes of them: want is each object's data or spec as
// JSON, with its name before it. refused is a part of the error instead. warns is a part of a warning that only aksflow
// gives.
var streams = map[string]struct {
	in      string
	want    []string
	refused string
	warns   string
}{
	"merge key with a field of its own": {
		in: `apiVersion: apps/v1
kind: Deployment
metadata: {name: merge}
spec:
  containers:
  - &c
    name: one
    image: debian
  - <<: *c
    name: two
`, want: []string{`merge {"containers":[{"image":"debian","name":"one"},{"image":"debian","name":"two"}]}`}},
	"typed list whose items have no kind": {
		in:   "apiVersion: v1\nkind: ConfigMapList\nitems:\n- {metadata: {name: l3}, data: {a: b}}\n- {metadata: {name: l4}}\n",
		want: []string{`l3 {"a":"b"}`, `l4`}},
	"placeholder of a template": {
		in:      "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: web\n    image: {{IMAGE}}\n",
		refused: "s.yaml:7 is not YAML: a placeholder that begins with {{ is not filled in here: write the value"},
	"placeholder of a template before other text": {
		in:      "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: web\n    image: {{REGISTRY}}/web:1\n",
		refused: "(line 7: a placeholder that begins with {{ is not filled in here: write the value"},
	"empty list": {in: "apiVersion: v1\nkind: List\nitems: []\n"},
	"duplicate key": {
		in:   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: first\n  a: last\n",
		want: []string{`a {"a":"last"}`}, warns: `s.yaml:6: the key "a" stands here for the second time, after line 5`},
	"key that is a boolean": {
		in:   "# comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  on: x\n",
		want: []string{`a {"true":"x"}`}, warns: `s.yaml:7: YAML reads the key on as true: put it in quotes`},
	"byte order mark and carriage returns": {
		in:   "\ufeffapiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a}\r\ndata:\r\n  a: |\r\n    x\r\n    y\r\n---\r\napiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: b}\r\n",
		want: []string{`a {"a":"x\ny\n"}`, `b`}},
	"scalars": {
		in:   "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: {a: on, b: yes, c: 0777, d: 0o17, e: 1e3, g: 1.0, h: 2020-01-01, i: ~, j: 1_000, k: 0x1f, l: 1:30, m: .5, o: 9007199254740993, p: y, q: \"1\", r: 1.10, s: no, 5: 6}\n",
		want: []string{`a {"5":6,"a":true,"b":true,"c":511,"d":15,"e":1000,"g":1,"h":"2020-01-01","i":null,"j":1000,"k":31,"l":"1:30","m":0.5,"o":9007199254740993,"p":true,"q":"1","r":1.1,"s":false}`}},
	"comments and empty documents": {
		in:   "# only a comment\n--- # and another\n---\n\n---\nnull\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n...\n---\n# the end\n---",
		want: []string{`a`}},
	"no newline at the end":        {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}", want: []string{`a {"a":"b"}`}},
	"JSON after JSON":              {in: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}} {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}`, want: []string{`a`, `b`}},
	"YAML in braces":               {in: "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", want: []string{`a`, `b`}},
	"JSON then YAML":               {in: "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n", want: []string{`a`, `b`}},
	"block scalar with ---":        {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: |\n    x\n    ---\n    y\n", want: []string{`a {"a":"x\n---\ny\n"}`}},
	"text after a separator":       {in: "--- x\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", refused: `s.yaml:1: "--- x" is not a document separator`},
	"tab":                          {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\ndata:\n\ta: b\n", refused: "s.yaml:7 is not YAML: found character that cannot start any token"},
	"sequence":                     {in: "- a\n", refused: "s.yaml:1: not a Kubernetes object"},
	"no kind":                      {in: "# c\n\nhello: world\n", refused: "s.yaml:3: not a Kubernetes object: it has no kind"},
	"label that is a number":       {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {app: web, version: 1.0}}\n", refused: "s.yaml:1: ConfigMap/a: metadata.labels.version is 1, a number, and no text: put it in quotes"},
	"annotation that is a boolean": {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {prometheus.io/scrape: true}}\n", refused: "ConfigMap/a: metadata.annotations.prometheus.io/scrape is true, a boolean, and no text"},
	"name that is a number":        {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 123}\n", refused: "ConfigMap: metadata.name is 123, a number"},
	"namespace that is a number":   {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: 7}\n", refused: "ConfigMap/a: metadata.namespace is 7, a number"},
	"labels that are a list":       {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: [b]}\n", refused: "ConfigMap/a: metadata.labels is a list, and no mapping"},
	"label without a value":        {in: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {b: , c: d}}\ndata: {a: b}\n", want: []string{`a {"a":"b"}`}},
	"item without a kind":          {in: "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, metadata: {name: a}}\n", refused: "s.yaml:1: item 1 of the List: not a Kubernetes object: it has no kind"},
}

// content is an object as streams has it.
func content(o *unstructured.Unstructured) string {
	for _, field := range []string{"data", "spec"} {
		if value, ok := o.Object[field]; ok {
			text, err := json.Marshal(value)
			if err != nil {
				return err.Error()
			}
			return o.GetName() + " " + string(text)
		}
	}
	return o.GetName()
}

func TestDecode(t *testing.T) {
	for name, test := range streams {
		t.Run(name, func(t *testing.T) {
			// A neighbour, since a directory without any object is refused.
			dir := unpack(t, "-- a.yaml --\n{apiVersion: v1, kind: ConfigMap, metadata: {name: beside}}\n")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "s.yaml"), []byte(test.in), 0o600))
			var warnings []string
			ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))

			objects, err := render.Render(ctx, dir, render.Options{})
			if test.refused != "" {
				require.ErrorContains(t, err, test.refused)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, o := range objects[1:] {
				got = append(got, content(o))
			}
			assert.Equal(t, test.want, got)
			if test.warns == "" {
				assert.Empty(t, warnings)
			} else {
				assert.Contains(t, strings.Join(warnings, "\n"), test.warns)
			}
		})
	}
}

// TestDecodeAsKubectlDoes gives the same streams to the real kubectl.
func TestDecodeAsKubectlDoes(t *testing.T) {
	kubectl, err := tool.Find("kubectl", "")
	if err != nil {
		t.Skip("needs kubectl, which judges what aksflow reads: ", err)
	}
	for name, test := range streams {
		t.Run(name, func(t *testing.T) {
			if len(test.want) == 0 && test.refused == "" {
				t.Skip("kubectl calls it an error that there is nothing to change")
			}
			path := filepath.Join(t.TempDir(), "s.yaml")
			require.NoError(t, os.WriteFile(path, []byte(test.in), 0o600))
			cmd := exec.Command(kubectl, "annotate", "--local", "--overwrite", "--output=json", "--filename="+path, "by=kubectl")
			cmd.Env = append(os.Environ(), "KUBECONFIG=/nonexistent")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if test.refused != "" {
				assert.Error(t, err)
				return
			}
			require.NoError(t, err, stderr.String())
			objects, err := render.Decode("kubectl.json", out)
			require.NoError(t, err)
			var got []string
			for _, o := range objects {
				got = append(got, content(o))
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(deployment))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{}]\n---\n- 1\n"))
	for _, test := range streams {
		f.Add([]byte(test.in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := render.Decode("fuzz.yaml", data)
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.GetKind() == "" || o.GetName() == "" {
				t.Errorf("not an object: %v", o)
			}
		}
	})
}
