package diff_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/kube/diff"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	if text == "" {
		return nil
	}
	o := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	require.NoError(t, o.UnmarshalJSON(data))
	return o
}

// changed are the lines of a diff that begin with + or -, without its header.
func changed(unified string) []string {
	var lines []string
	for line := range strings.Lines(unified) {
		if (line[0] == '+' || line[0] == '-') && !strings.HasPrefix(line, "+++ ") && !strings.HasPrefix(line, "--- ") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func TestUnified(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	for name, test := range map[string]struct {
		live, merged, applied string
		want                  []string
	}{
		"nothing": {live: service, merged: service, applied: service},
		"a value": {
			live: service + "spec: {type: ClusterIP}", merged: service + "spec: {type: LoadBalancer}", applied: service + "spec: {type: LoadBalancer}",
			want: []string{"-  type: ClusterIP", "+  type: LoadBalancer"},
		},
		"a default of the server": {
			live: service + "spec: {ports: [{port: 80}]}", applied: service + "spec: {ports: [{port: 80}, {port: 81}]}",
			merged: service + "spec: {ports: [{port: 80}, {port: 81, protocol: TCP}], sessionAffinity: None}",
			want:   []string{"+  - port: 81"},
		},
		"items in another order": {
			live:    service + "spec: {ports: [{name: a, port: 80, nodePort: 1}, {name: b, port: 81, nodePort: 2}]}",
			applied: service + "spec: {ports: [{name: b, port: 81}, {name: a, port: 80}]}",
			merged:  service + "spec: {ports: [{name: b, port: 81, nodePort: 2}, {name: a, port: 80, nodePort: 1}]}",
			want:    []string{"+  - name: b", "+    nodePort: 2", "+    port: 81", "-  - name: b", "-    nodePort: 2", "-    port: 81"},
		},
		"what the server keeps": {
			live:    "apiVersion: v1\nkind: Service\nmetadata: {name: web, uid: u, resourceVersion: '1', generation: 1, annotations: {deployment.kubernetes.io/revision: '1'}}\nstatus: {a: 1}\n",
			merged:  "apiVersion: v1\nkind: Service\nmetadata: {name: web, uid: u, resourceVersion: '2', generation: 2}\nstatus: {a: 2}\n",
			applied: service,
		},
		"created": {merged: service, want: []string{"+apiVersion: v1", "+kind: Service", "+metadata:", "+  name: web"}},
		"deleted": {live: service, want: []string{"-apiVersion: v1", "-kind: Service", "-metadata:", "-  name: web"}},
	} {
		t.Run(name, func(t *testing.T) {
			live, merged := object(t, test.live), object(t, test.merged)
			out := diff.Unified("Service/web", live, merged, object(t, test.applied))
			assert.Equal(t, test.want, changed(out), out)
			assert.Equal(t, object(t, test.live), live, "what is shown is not changed")
			assert.Equal(t, object(t, test.merged), merged, "what is shown is not changed")
			if len(test.want) > 0 {
				assert.True(t, strings.HasPrefix(out, "--- live/Service/web\n+++ new/Service/web\n@@ "), out)
			}
		})
	}
}

func TestSecretsAreMasked(t *testing.T) {
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: redis, annotations: {kubectl.kubernetes.io/last-applied-configuration: c2VjcmV0}}\n"
	live, merged := object(t, secret+"data: {same: c2VjcmV0, changes: c2VjcmV0, goes: c2VjcmV0}"), object(t, secret+"data: {same: c2VjcmV0, changes: bmV3c2VjcmV0, comes: c2VjcmV0}")
	out := diff.Unified("Secret/redis", live, merged, merged)
	assert.Equal(t, []string{"-  changes: '***'", "-  goes: '***'", "+  changes: '*** (new)'", "+  comes: '***'"}, changed(out))
	for _, hidden := range []string{"c2VjcmV0", "bmV3c2VjcmV0"} {
		assert.NotContains(t, out, hidden)
		assert.NotContains(t, diff.Unified("Secret/redis", nil, merged, nil)+diff.Unified("Secret/redis", live, nil, nil), hidden)
	}
	assert.NotContains(t, diff.Unified("Secret/redis", nil, object(t, secret+"stringData: {a: plain}"), nil), "plain")
}

func TestColour(t *testing.T) {
	long := strings.Repeat("x", 100_000) // longer than a scanner's line
	unified := "--- live/a\n+++ new/a\n@@ -1 +1 @@\n same\n-old\n+" + long + "\n\\ No newline at end of file"
	assert.Equal(t, "\x1b[1m--- live/a\x1b[0m\n\x1b[1m+++ new/a\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n same\n\x1b[31m-old\x1b[0m\n\x1b[32m+"+long+"\x1b[0m\n\\ No newline at end of file", diff.Colour(unified))
}
