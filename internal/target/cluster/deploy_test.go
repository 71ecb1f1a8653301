package cluster_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

func statuses(r *cluster.Result) map[string]string {
	out := map[string]string{}
	for _, o := range r.Objects {
		out[o.Ref] = o.Status
	}
	return out
}

func TestDeployConverges(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)

	first, err := c.Deploy(ctx, vote(t, "converge", "v1"))
	require.NoError(t, err, log)
	assert.Equal(t, map[string]string{
		"Namespace/converge": cluster.Created, "ConfigMap/settings": cluster.Created, "Secret/redis": cluster.Created,
		"Service/vote": cluster.Created, "Deployment/vote": cluster.Created,
	}, statuses(first))
	assert.Equal(t, 1, first.Revision)

	again := vote(t, "converge", "v1")
	again.RunURL = "https://ci.example/another-run"
	second, err := c.Deploy(ctx, again)
	require.NoError(t, err, log)
	assert.False(t, second.Changed(), second.Objects)
	assert.Equal(t, 1, second.Revision, "nothing new is no revision")

	third, err := c.Deploy(ctx, vote(t, "converge", "v2"))
	require.NoError(t, err, log)
	assert.Equal(t, cluster.Configured, statuses(third)["Deployment/vote"])
	assert.Equal(t, cluster.Unchanged, statuses(third)["Service/vote"])
	assert.Equal(t, 2, third.Revision)

	history, err := c.History(ctx, "vote", "converge")
	require.NoError(t, err)
	require.Len(t, history, 2)
	assert.Equal(t, kube.RevisionDeployed, history[0].Status)
	assert.Equal(t, kube.RevisionSuperseded, history[1].Status)
	assert.Equal(t, image("v2"), history[0].Image)
}

func getDeployment(t *testing.T, namespace string) *appsv1.Deployment {
	t.Helper()
	d, err := testServer(t).Client.AppsV1().Deployments(namespace).Get(context.Background(), "vote", metav1.GetOptions{})
	require.NoError(t, err)
	return d
}

func TestFailedRolloutIsPutBack(t *testing.T) {
	t.Parallel()
	c := connect(t)
	for tag, says := range map[string]string{
		"missing":    "does not exist in its registry",
		"refused":    "the registry refuses the image",
		"secretless": `Secret "gone" is missing`,
	} {
		t.Run(tag, func(t *testing.T) {
			ctx, log := events(t)
			namespace := "restore-" + tag
			_, err := c.Deploy(ctx, vote(t, namespace, "v1"))
			require.NoError(t, err, log)
			before := getDeployment(t, namespace)

			result, err := c.Deploy(ctx, vote(t, namespace, tag))
			require.ErrorContains(t, err, says, log)
			var rollout *watch.RolloutError
			require.ErrorAs(t, err, &rollout)
			assert.True(t, result.RolledBack)
			assert.Equal(t, 1, result.Revision)
			assert.Equal(t, cluster.Restored, statuses(result)["Deployment/vote"])

			assert.Eventually(t, func() bool {
				after := getDeployment(t, namespace)
				return assert.ObjectsAreEqual(before.Spec, after.Spec) && assert.ObjectsAreEqual(before.Labels, after.Labels) &&
					assert.ObjectsAreEqual(before.Annotations, after.Annotations)
			}, waitFor, tick)
			assert.Equal(t, owners(before.ManagedFields), owners(getDeployment(t, namespace).ManagedFields))

			history, err := c.History(ctx, "vote", namespace)
			require.NoError(t, err)
			assert.Equal(t, kube.RevisionFailed, history[0].Status)

			again, err := c.Deploy(ctx, vote(t, namespace, "v1"))
			require.NoError(t, err)
			assert.False(t, again.Changed(), again.Objects)
		})
	}
}

// owners are the managers of an object, and what each owns.
func owners(entries []metav1.ManagedFieldsEntry) map[string]string {
	out := map[string]string{}
	for _, e := range entries {
		if e.Subresource == "" && e.Manager == kube.Manager {
			out[e.Manager+" "+string(e.Operation)] = string(e.FieldsV1.GetRawBytes())
		}
	}
	return out
}

func TestFailedFirstDeployLeavesNothing(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	result, err := c.Deploy(ctx, vote(t, "nothing", "missing"))
	require.Error(t, err, log)
	assert.True(t, result.RolledBack)
	assert.Zero(t, result.Revision)
	assert.Equal(t, cluster.Removed, statuses(result)["Deployment/vote"])
	assert.Eventually(t, func() bool {
		_, err := testServer(t).Client.CoreV1().Namespaces().Get(ctx, "nothing", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, waitFor, tick)
}
