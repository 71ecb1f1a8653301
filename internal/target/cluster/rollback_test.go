package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/kube"
)

// A rollback that names no revision goes to the one before what runs. What runs is the deployed revision, unless a deploy
// that failed left its changes.
func TestRollbackTo(t *testing.T) {
	before := kube.Revision{Number: 1, Status: kube.RevisionSuperseded}
	deployed := kube.Revision{Number: 2, Status: kube.RevisionDeployed}
	for name, tc := range map[string]struct {
		newest []kube.Revision
		want   int
	}{
		"nothing failed":                   {nil, 1},
		"failed, and put back":             {[]kube.Revision{{Number: 3, Status: kube.RevisionFailed}}, 1},
		"held, and aborted":                {[]kube.Revision{{Number: 3, Status: kube.RevisionFailed, Message: "aborted by ann"}}, 1},
		"failed, and left for debugging":   {[]kube.Revision{{Number: 3, Status: kube.RevisionFailed, Left: true}}, 2},
		"killed":                           {[]kube.Revision{{Number: 3, Status: kube.RevisionPending}}, 2},
		"left, then another one, put back": {[]kube.Revision{{Number: 4, Status: kube.RevisionFailed}, {Number: 3, Status: kube.RevisionFailed, Left: true}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			back, err := rollbackTo(App{Name: "vote"}, append(tc.newest, deployed, before), 0)
			require.NoError(t, err)
			assert.Equal(t, tc.want, back.Number)
		})
	}
	_, err := rollbackTo(App{Name: "vote"}, []kube.Revision{{Number: 2, Status: kube.RevisionFailed}, {Number: 1, Status: kube.RevisionDeployed}}, 0)
	require.ErrorContains(t, err, "has no earlier revision to go back to")
}
