package manifest

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExplicitKeys(t *testing.T) {
	files := fstest.MapFS{"env/values.yaml": {Data: []byte("web:\n  docker.io:\n  - {path: acme.example.com/shop/web, version: v1, hash: ''} # ours\n  whole: other.example.com/x:1\n")}}
	plan := func(keys ...Keys) (*Edit, error) {
		return Plan(t.Context(), files, "env", Target{Image: propertyImage, Keys: keys}, Options{})
	}
	edit, err := plan(
		Keys{File: "values.yaml", Repository: `web.docker\.io[0].path`, Tag: `web.docker\.io[0].version`, Digest: `web.docker\.io[0].hash`},
		Keys{File: "values.yaml", Image: "web.whole"})
	require.NoError(t, err)
	require.Len(t, edit.Files, 1)
	assert.Equal(t, "web:\n  docker.io:\n  - {path: registry.example.com:5000/shop/vote, version: 1.2.0, hash: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'} # ours\n  whole: "+propertyImage+"\n",
		string(edit.Files[0].Content))

	for want, keys := range map[string]Keys{
		"env/values.yaml: no text at the path web.tag, which aksflow.yaml:12 names": {File: "values.yaml", Tag: "web.tag", Where: "aksflow.yaml:12"},
		"aksflow.yaml:12: cannot read env/other.yaml":                               {File: "other.yaml", Tag: "web.tag", Where: "aksflow.yaml:12"},
		"../values.yaml is not in env":                                              {File: "../values.yaml", Tag: "web.tag"},
		"the path of tag or digest is missing":                                      {File: "values.yaml", Repository: "web.whole"},
		"want either image":                                                         {File: "values.yaml"},
		"a bracket is not closed":                                                   {File: "values.yaml", Tag: "web[0"},
		"is no index":                                                               {File: "values.yaml", Tag: "web[x]"},
	} {
		_, err := plan(keys)
		require.ErrorContains(t, err, want)
	}
}
