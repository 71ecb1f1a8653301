package image

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// CheckPush agrees with Push about credentials, and pushes nothing.
func TestCheckPush(t *testing.T) {
	noConfig(t)
	host := withPasswords(t)
	good := Registry{Username: user, Password: password, firstPause: time.Millisecond}
	assert.NoError(t, CheckPush(t.Context(), host+"/vote", good))
	_, err := resolve(t.Context(), host+"/vote:a", good)
	assert.Error(t, err, "nothing was pushed")

	assert.ErrorContains(t, CheckPush(t.Context(), host+"/vote", Registry{Username: user, Password: "wr0ng-one", firstPause: time.Millisecond}), "refuses access")
	assert.ErrorContains(t, CheckPush(t.Context(), "vote", good), "names no registry")
}
