package status_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/kube/status"
)

const replicaSetPod = `apiVersion: v1
kind: Pod
metadata: {name: a-1, uid: p, ownerReferences: [{uid: r, controller: true}]}
spec: {nodeName: node-1, containers: [{name: web, image: "r/x:1", readinessProbe: {}}]}
status:
`

// The kinds of Pods before Deployments have reasons, too, and replace no pod.
func TestReplicaSets(t *testing.T) {
	for _, kind := range []string{"apiVersion: apps/v1\nkind: ReplicaSet", "apiVersion: v1\nkind: ReplicationController"} {
		o := kind + "\nmetadata: {name: a, uid: r}\nspec: {replicas: 1, template: {spec: {containers: [{name: web, image: \"r/x:2\"}]}}}\nstatus: {availableReplicas: 1}\n"
		running := replicaSetPod + "  conditions: [{type: Ready, status: \"True\"}]\n  containerStatuses: [{name: web, ready: true, state: {running: {}}}]\n"
		s := status.Of(object(t, o), world(t, running))
		assert.True(t, s.Ready)
		assert.Equal(t, "1 of 1 pods are available, and 1 has another image, which nothing replaces: delete them, or use a Deployment", s.Message)

		o = strings.Replace(o, "availableReplicas: 1", "availableReplicas: 0", 1)
		s = status.Of(object(t, o), world(t, replicaSetPod+"  containerStatuses: [{name: web, state: {waiting: {reason: ErrImagePull, message: 'r/x:1: not found'}}}]\n"))
		require.Len(t, s.Problems, 1)
		assert.Equal(t, status.Never, s.Problems[0].Heals)

		s = status.Of(object(t, strings.Replace(o, "status: {", "status: {conditions: [{type: ReplicaFailure, status: \"True\", reason: FailedCreate, message: 'pods \"a-\" is forbidden: no'}], ", 1)), world(t, ""))
		require.Len(t, s.Problems, 1)
		assert.Equal(t, "FailedCreate", s.Problems[0].Reason)
	}
}
