package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// objectsOf reads objects for a test.
func objectsOf(t *testing.T, texts ...string) (objects []*unstructured.Unstructured) {
	t.Helper()
	for _, text := range texts {
		u := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(text), &u.Object))
		objects = append(objects, u)
	}
	return objects
}

func TestMoveTo(t *testing.T) {
	manifests := func(namespace string) []*unstructured.Unstructured {
		return objectsOf(t,
			"{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}",
			"{apiVersion: v1, kind: Namespace, metadata: {name: shared}}",
			"{apiVersion: v1, kind: Service, metadata: {name: web, namespace: "+namespace+"}}",
			"{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shared}}",
			"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: r, namespace: "+namespace+"}, subjects: [{kind: ServiceAccount, name: web, namespace: "+namespace+"}, {kind: ServiceAccount, name: web, namespace: shared}]}",
			"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n}, spec: {ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+namespace+"}}}]}]}}",
		)
	}
	objects := manifests("app")
	assert.Empty(t, moveTo(objects, "app", "app-dev-me"))
	assert.Equal(t, manifests("app-dev-me"), objects)
}

// Names of hosts in texts stay, and are told.
func TestMoveToTellsOfTexts(t *testing.T) {
	objects := objectsOf(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {
		a: "redis://redis.app:6379", b: "http://web.app.svc.cluster.local/", c: "app", d: "web.apple.svc", e: "an.app.of.mine and db.app"}}`)
	assert.Equal(t, []string{
		`ConfigMap/c names the namespace app in "an.app.of.mine and db.app"`,
		`ConfigMap/c names the namespace app in "http://web.app.svc.cluster.local/"`,
		`ConfigMap/c names the namespace app in "redis://redis.app:6379"`,
	}, moveTo(objects, "app", "app-dev-me"))
}

func TestPlaceNamespace(t *testing.T) {
	other := "{apiVersion: v1, kind: Service, metadata: {name: web}}"
	namespace := func(labels string) string {
		return "{apiVersion: v1, kind: Namespace, metadata: {name: own" + labels + "}}"
	}
	marked := ", labels: {team: a, " + ownLabel + `: "true"}`
	for name, test := range map[string]struct {
		made     bool
		in, want []string
	}{
		"it is made":                    {true, []string{other}, []string{namespace(", labels: {" + ownLabel + `: "true"}`), other}},
		"it is made as the manifests":   {true, []string{other, namespace(", labels: {team: a}")}, []string{other, namespace(marked)}},
		"it was there":                  {false, []string{other}, []string{other}},
		"it was there and is described": {false, []string{namespace(""), other}, []string{other}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Release{Objects: objectsOf(t, test.in...)}
			(&Own{namespace: "own", made: test.made}).placeNamespace(r)
			assert.Equal(t, objectsOf(t, test.want...), r.Objects)
		})
	}
}
