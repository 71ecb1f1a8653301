package manifest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestImagesOfAnyKind(t *testing.T) {
	var object map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(`
kind: ScaledJob
metadata: {annotations: {x: y}, containers: [{image: in-metadata}]}
spec:
  jobTargetRef:
    template:
      spec:
        initContainers: [{image: a}, {name: without}]
        containers: [{name: web, image: b}, text]
        ephemeralContainers: [{image: c}]
        volumes: [{name: assets, image: {reference: d, pullPolicy: Always}}, {name: none, image: {}}, {name: data, emptyDir: {}}, text]
  containers: {image: no-list}
  volumes: [{name: text, image: no-source}]
status: {containers: [{image: in-status}]}
`), &object))
	images := func() (images []string) {
		Images(object, func(i Image) { images = append(images, i.Field+" "+i.Name+" "+i.Ref()) })
		return images
	}
	assert.ElementsMatch(t, []string{"initContainers  a", "initContainers without ", "containers web b", "ephemeralContainers  c", "volumes assets d"}, images())
	Images(object, func(i Image) { i.Set("set") })
	assert.ElementsMatch(t, []string{"initContainers  set", "initContainers without set", "containers web set", "ephemeralContainers  set", "volumes assets set"}, images())
}
