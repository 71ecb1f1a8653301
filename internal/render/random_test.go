package render_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
)

// applied is a cluster that has the objects, as an API server keeps them.
func applied(t *testing.T, objects []*unstructured.Unstructured) cluster {
	t.Helper()
	c := cluster{version: "v1.34.4", objects: map[string]map[string]any{}}
	for _, o := range objects {
		o = o.DeepCopy()
		if values, ok := o.Object["stringData"].(map[string]any); ok {
			data, _ := o.Object["data"].(map[string]any)
			if data == nil {
				data = map[string]any{}
			}
			for key, value := range values {
				data[key] = base64.StdEncoding.EncodeToString([]byte(value.(string)))
			}
			delete(o.Object, "stringData")
			o.Object["data"] = data
		}
		c.objects[o.GetKind()+"/default/"+o.GetName()] = o.Object
	}
	return c
}

// chartObjects renders templates as the chart shop, and returns its objects by kind, with what was warned of.
func chartObjects(t *testing.T, templates string, o render.Options) (objects []*unstructured.Unstructured, byKind map[string]map[string]any, warnings string) {
	t.Helper()
	dir := unpack(t, chartHead+"-- chart/templates/all.yaml --\n"+templates)
	ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) { warnings += e.Message + "\n" }))
	objects, err := render.Render(ctx, filepath.Join(dir, "chart"), o)
	require.NoError(t, err)
	byKind = map[string]map[string]any{}
	for _, object := range objects {
		byKind[object.GetKind()] = object.Object
	}
	return objects, byKind, warnings
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.MarshalIndent(value, "", " ")
	require.NoError(t, err)
	return string(text)
}

const randomSecret = `apiVersion: v1
kind: Secret
metadata: {name: db}
data:
  password: {{ randAlphaNum 20 | b64enc }}
`

// Each chart is deployed, and rendered again against what the deploy made.
func TestRandomValuesStay(t *testing.T) {
	t.Parallel()
	for name, templates := range map[string]string{
		"a password": randomSecret,
		"a password by lookup": `{{- $old := lookup "v1" "Secret" .Release.Namespace "db" }}
apiVersion: v1
kind: Secret
metadata: {name: db}
data:
{{- if $old }}
  password: {{ index $old.data "password" }}
{{- else }}
  password: {{ randAlphaNum 20 | b64enc }}
{{- end }}
`,
		"stringData":        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: {{ randAlpha 9 | quote }}, b: {{ randAlpha 9 | upper | quote }}}\n",
		"a pod annotation":  "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {annotations: {rollme: {{ randAlphaNum 5 | quote }}}}}}\n",
		"a number":          "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec: {schedule: \"{{ randInt 0 60 }} {{ randInt 0 3 }} * * *\", suspend: false}\n",
		"within a text":     "{{ $p := randAlphaNum 8 }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {url: \"postgres://user:{{ $p }}@db\", hash: {{ sha256sum $p }}}\n",
		"an item of a list": "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a}, {name: b, env: [{name: ID, value: {{ uuidv4 }}}]}]}\n",
		"only a hash of it": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {seed: {{ randBytes 16 | sha256sum | trunc 8 | quote }}}\n",
		"keys and hashes": `apiVersion: v1
kind: Secret
metadata: {name: keys}
data:
  key: {{ genPrivateKey "ed25519" | b64enc }}
  auth: {{ htpasswd "admin" "secret" | b64enc }}
  bcrypt: {{ bcrypt "secret" | b64enc }}
  aes: {{ encryptAES "key" "secret" | b64enc }}
  shuffled: {{ shuffle "abcdefghijkl" | b64enc }}
`,
		"certificates": `{{ $ca := genCA "authority" 365 }}{{ $cert := genSignedCert "web" (list "10.0.0.1") (list "web" "web.default.svc") 365 $ca }}
apiVersion: v1
kind: Secret
metadata: {name: tls}
data:
  tls.crt: {{ $cert.Cert | b64enc }}
  tls.key: {{ $cert.Key | b64enc }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: web}
webhooks: [{name: web, clientConfig: {caBundle: {{ $ca.Cert | b64enc }}}}]
`,
		"a certificate in a block": `{{ $c := genSelfSignedCert "web" nil (list "web") 30 }}
apiVersion: v1
kind: Secret
metadata: {name: tls}
stringData:
  both: |-
{{ $c.Cert | indent 4 }}
  key: |
{{ $c.Key | indent 4 }}
`,
		"a checksum": randomSecret + `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {annotations: {checksum: {{ randAlphaNum 4 | sha256sum }}}}}}
`,
	} {
		t.Run(name, func(t *testing.T) {
			before, _, _ := chartObjects(t, templates, render.Options{Cluster: cluster{version: "v1.34.4"}})
			live := applied(t, before)
			after, _, warnings := chartObjects(t, templates, render.Options{Cluster: live})
			want := applied(t, before).objects
			for key, got := range applied(t, after).objects {
				assert.Equal(t, asJSON(t, want[key]), asJSON(t, got))
			}
			assert.Empty(t, warnings)

			offline, _, _ := chartObjects(t, templates, render.Options{})
			assert.NotEqual(t, asJSON(t, before), asJSON(t, offline), "without a cluster the values are new, so that the test means something")
		})
	}
}

func value(t *testing.T, secret map[string]any, key string) string {
	t.Helper()
	encoded, _, err := unstructured.NestedString(secret, "data", key)
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	return string(raw)
}

func TestRandomValuesFollowTheChart(t *testing.T) {
	t.Parallel()
	const deployment = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {annotations: {checksum: "%s"}}}}
`
	withChecksum := func(secret string) string {
		// What `include (print $.Template.BasePath "/secret.yaml") . | sha256sum` is in other charts.
		return "{{ define \"secret\" }}" + secret + "{{ end }}{{ $s := include \"secret\" . }}{{ $s }}" + strings.ReplaceAll(deployment, "%s", "{{ sha256sum $s }}")
	}
	checksum := func(kinds map[string]map[string]any) string {
		text, _, _ := unstructured.NestedString(kinds["Deployment"], "spec", "template", "metadata", "annotations", "checksum")
		return text
	}
	deployed := func(t *testing.T, templates string) (cluster, map[string]map[string]any) {
		objects, kinds, _ := chartObjects(t, templates, render.Options{Cluster: cluster{version: "v1.34.4"}})
		return applied(t, objects), kinds
	}

	t.Run("a checksum stays with its secret", func(t *testing.T) {
		live, before := deployed(t, withChecksum(randomSecret))
		_, after, _ := chartObjects(t, withChecksum(randomSecret), render.Options{Cluster: live})
		assert.Equal(t, before, after)
	})
	t.Run("a key is added before the old one", func(t *testing.T) {
		live, before := deployed(t, withChecksum(randomSecret))
		_, after, _ := chartObjects(t, withChecksum(strings.Replace(randomSecret, "data:\n", "data:\n  admin: {{ randAlphaNum 20 | b64enc }}\n", 1)), render.Options{Cluster: live})
		assert.Equal(t, value(t, before["Secret"], "password"), value(t, after["Secret"], "password"))
		assert.Len(t, value(t, after["Secret"], "admin"), 20)
		assert.NotEqual(t, value(t, after["Secret"], "password"), value(t, after["Secret"], "admin"))
		assert.NotEqual(t, checksum(before), checksum(after))
	})
	t.Run("what is derived from the old one is added", func(t *testing.T) {
		live, before := deployed(t, "{{ $p := randAlphaNum 20 }}"+strings.Replace(randomSecret, "randAlphaNum 20", "$p", 1))
		_, after, _ := chartObjects(t, "{{ $p := randAlphaNum 20 }}"+strings.Replace(randomSecret, "randAlphaNum 20", "$p", 1)+"  auth: {{ htpasswd \"a\" $p | b64enc }}\n  url: {{ print \"db://\" $p | b64enc }}\n", render.Options{Cluster: live})
		password := value(t, before["Secret"], "password")
		assert.Equal(t, password, value(t, after["Secret"], "password"))
		assert.Equal(t, "db://"+password, value(t, after["Secret"], "url"))
		assert.NoError(t, bcrypt.CompareHashAndPassword([]byte(strings.TrimPrefix(value(t, after["Secret"], "auth"), "a:")), []byte(password)))
	})
	t.Run("another length is another password", func(t *testing.T) {
		live, before := deployed(t, withChecksum(randomSecret))
		_, after, _ := chartObjects(t, withChecksum(strings.Replace(randomSecret, "20", "32", 1)), render.Options{Cluster: live})
		assert.Len(t, value(t, after["Secret"], "password"), 32)
		assert.NotEqual(t, checksum(before), checksum(after))
	})
	t.Run("another password is another hash", func(t *testing.T) {
		templates := "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {auth: {{ htpasswd \"admin\" .Values.password | b64enc | quote }}}\n"
		set := func(password string) render.Options { return render.Options{Set: []string{"password=" + password}} }
		o := set("one")
		o.Cluster = cluster{version: "v1.34.4"}
		objects, _, _ := chartObjects(t, templates, o)
		o = set("two")
		o.Cluster = applied(t, objects)
		_, after, _ := chartObjects(t, templates, o)
		assert.NoError(t, bcrypt.CompareHashAndPassword([]byte(strings.TrimPrefix(value(t, after["Secret"], "auth"), "admin:")), []byte("two")))
	})
	t.Run("a secret that was deleted is made anew", func(t *testing.T) {
		live, before := deployed(t, withChecksum(randomSecret))
		delete(live.objects, "Secret/default/db")
		_, after, _ := chartObjects(t, withChecksum(randomSecret), render.Options{Cluster: live})
		assert.NotEqual(t, value(t, before["Secret"], "password"), value(t, after["Secret"], "password"))
		assert.NotEqual(t, checksum(before), checksum(after))
	})
	t.Run("another name is another certificate, and another authority", func(t *testing.T) {
		templates := func(name string) string {
			return `{{ $ca := genCA "authority" 365 }}{{ $cert := genSignedCert "web" nil (list "` + name + `") 365 $ca }}
apiVersion: v1
kind: Secret
metadata: {name: tls}
data: {ca: {{ $ca.Cert | b64enc }}, crt: {{ $cert.Cert | b64enc }}, key: {{ $cert.Key | b64enc }}}
`
		}
		live, before := deployed(t, templates("web"))
		_, after, _ := chartObjects(t, templates("other"), render.Options{Cluster: live})
		assert.NotEqual(t, value(t, before["Secret"], "ca"), value(t, after["Secret"], "ca"), "its key is not in the cluster")
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(value(t, after["Secret"], "ca"))))
		block, _ := pem.Decode([]byte(value(t, after["Secret"], "crt")))
		cert, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other"})
		assert.NoError(t, err)
	})
}

// The documented way to roll pods when a Secret changes: https://helm.sh/docs/howto/charts_tips_and_tricks/
func TestChecksumOfAnIncludedSecret(t *testing.T) {
	templates := func(more string) string {
		return `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {metadata: {annotations: {checksum: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec: {template: {metadata: {annotations: {checksum: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}}}}}
-- chart/templates/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: db}
data:
  password: {{ randAlphaNum 20 | b64enc }}
  id: {{ uuidv4 | b64enc }}
  other: {{ randAlphaNum 20 | b64enc }}
` + more
	}
	objects, before, _ := chartObjects(t, templates(""), render.Options{Cluster: cluster{version: "v1.34.4"}})
	checksum := func(kinds map[string]map[string]any, kind string) string {
		text, _, _ := unstructured.NestedString(kinds[kind], "spec", "template", "metadata", "annotations", "checksum")
		return text
	}
	assert.Equal(t, checksum(before, "Deployment"), checksum(before, "StatefulSet"))
	live := applied(t, objects)
	_, after, _ := chartObjects(t, templates(""), render.Options{Cluster: live})
	assert.Equal(t, before, after)
	_, after, _ = chartObjects(t, templates("  host: aG9zdA==\n"), render.Options{Cluster: live})
	assert.Equal(t, value(t, before["Secret"], "password"), value(t, after["Secret"], "password"))
	assert.NotEqual(t, checksum(before, "Deployment"), checksum(after, "Deployment"), "the Secret has changed, so the pods are replaced")
}

func TestClockIsNamed(t *testing.T) {
	const templates = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {at: {{ now | date \"2006-01-02 15:04:05.000000\" | quote }}, id: {{ randAlpha 5 | quote }}}\n"
	objects, before, warnings := chartObjects(t, templates, render.Options{Cluster: cluster{version: "v1.34.4"}})
	assert.Empty(t, warnings, "at the first deploy")
	time.Sleep(time.Millisecond)
	_, after, warnings := chartObjects(t, templates, render.Options{Cluster: applied(t, objects)})
	assert.Equal(t, "ConfigMap/web takes data.at from the clock, so that each deploy changes it\n", warnings)
	id := func(kinds map[string]map[string]any) any { return kinds["ConfigMap"]["data"].(map[string]any)["id"] }
	assert.Equal(t, id(before), id(after))
}
