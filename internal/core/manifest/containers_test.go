package manifest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestContainersOfAnyKind(t *testing.T) {
	var object map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(`
kind: ScaledJob
metadata: {annotations: {x: y}, containers: [{image: in-metadata}]}
spec:
  jobTargetRef:
    template:
      spec:
        initContainers: [{image: a}, {name: without}]
        containers: [{image: b}, text]
        ephemeralContainers: [{image: c}]
  containers: {image: no-list}
status: {containers: [{image: in-status}]}
`), &object))
	images := func() (images []any) {
		Containers(object, func(_ string, c map[string]any) { images = append(images, c["image"]) })
		return images
	}
	assert.ElementsMatch(t, []any{"a", nil, "b", "c"}, images())
	Containers(object, func(_ string, c map[string]any) { c["image"] = "set" })
	assert.Equal(t, []any{"set", "set", "set", "set"}, images())
}
