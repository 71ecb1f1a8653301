package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const oldLamp = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.versions.example}
spec:
  group: versions.example
  scope: Namespaced
  names: {kind: Lamp, plural: lamps, singular: lamp}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {watts: {type: integer}}}}}}
---
apiVersion: versions.example/v1
kind: Lamp
metadata: {name: one}
spec: {watts: 5}
---
`

const newLamp = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.versions.example}
spec:
  group: versions.example
  scope: Namespaced
  names: {kind: Lamp, plural: lamps, singular: lamp}
  versions:
  - name: v1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {watts: {type: integer}}}}}}
  - name: v2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {watts: {type: integer}, color: {type: string}}}}}}
---
apiVersion: versions.example/v2
kind: Lamp
metadata: {name: one}
spec: {watts: 5, color: red}
---
`

// An object whose manifest moves to a version of the API that comes with the same deploy is the one that is there.
func TestObjectInANewVersionOfItsDefinition(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "versions")
	_, err := c.Deploy(ctx, app(t, "app", "versions", oldLamp))
	require.NoError(t, err, log)
	before := get(t, c, "versions.example/v1", "Lamp", "versions", "one")

	unified, err := c.Diff(ctx, app(t, "app", "versions", newLamp))
	require.NoError(t, err)
	assert.Contains(t, unified, "\n+  color: red\n")
	assert.NotContains(t, unified, "\n+  watts: 5\n", "it is changed, and not created")

	// A deploy that fails puts it back. It did not create it, so it does not delete it.
	broken := voteManifests[strings.Index(voteManifests, "apiVersion: apps/v1"):]
	result, err := c.Deploy(ctx, app(t, "app", "versions", newLamp+strings.Replace(broken, "image: vote", "image: x:missing", 1)))
	require.ErrorContains(t, err, "Deployment/vote", "and not the Lamp")
	for _, o := range result.Objects {
		if o.Ref == "Lamp/one" {
			assert.Equal(t, "restored", o.Status)
		}
	}
	now := get(t, c, "versions.example/v1", "Lamp", "versions", "one")
	require.NotNil(t, now)
	assert.Equal(t, before.GetUID(), now.GetUID())

	_, err = c.Deploy(ctx, app(t, "app", "versions", newLamp))
	require.NoError(t, err, log)
	now = get(t, c, "versions.example/v2", "Lamp", "versions", "one")
	assert.Equal(t, before.GetUID(), now.GetUID())
	color, _, _ := unstructured.NestedString(now.Object, "spec", "color")
	assert.Equal(t, "red", color)

	result, err = c.Deploy(ctx, app(t, "app", "versions", newLamp))
	require.NoError(t, err, log)
	assert.False(t, result.Changed())
}
