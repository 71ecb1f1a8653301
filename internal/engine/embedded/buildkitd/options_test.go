package buildkitd

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The daemon outlives its caller, so it gets no variable that may hold a secret.
func TestInheritedVariables(t *testing.T) {
	o := Options{Env: []string{"PATH=/bin", "TOKEN=secret", "https_proxy=http://proxy:1", "NO_PROXY=localhost", "HOME=/root", "AWS_SECRET_ACCESS_KEY=x", "PATH=/usr/bin"}}
	assert.Equal(t, []string{"https_proxy=http://proxy:1", "NO_PROXY=localhost", "HOME=/root"}, o.inherit())
	assert.Equal(t, "/usr/bin", o.variable("PATH"))
	assert.Empty(t, o.variable("NONE"))
}
