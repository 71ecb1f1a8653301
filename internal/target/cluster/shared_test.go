package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/target/cluster"
)

// Several apps bring the Namespace that they share, and the definitions of the same operator.
func TestSharedNamespaceAndDefinition(t *testing.T) {
	t.Parallel()
	ctx, log := events(t)
	c := connect(t)
	const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: both, labels: {team: voters}}\n---\n"
	shared := namespace + lamps("both.example", "{watts: {type: integer}}")
	object := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n---\n"
	}
	_, err := c.Deploy(ctx, app(t, "aa", "both", shared+object("a")))
	require.NoError(t, err, log)
	before := get(t, c, "v1", "Namespace", "", "both")

	unified, err := c.Diff(ctx, app(t, "bb", "both", shared+object("b")))
	require.NoError(t, err)
	assert.NotContains(t, unified, "Namespace/")
	_, err = c.Deploy(ctx, app(t, "bb", "both", shared+object("b")))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, app(t, "bb", "both", shared+strings.Replace(object("b"), "}\n", "}\ndata: {x: z}\n", 1)))
	require.NoError(t, err, log)
	assert.Equal(t, before.GetResourceVersion(), get(t, c, "v1", "Namespace", "", "both").GetResourceVersion(), "it is left as it is")

	// One that the second app wants to be another is refused, and no flag of the second app deletes it.
	_, err = c.Deploy(ctx, app(t, "bb", "both", strings.Replace(shared, "team: voters", "team: others", 1)+object("b")))
	require.ErrorContains(t, err, "Namespace/both in the cluster belongs to the app aa")
	_, err = c.Deploy(ctx, app(t, "bb", "both", strings.Replace(shared, "watts", "volts", 1)+object("b")))
	require.ErrorContains(t, err, "CustomResourceDefinition/lamps.both.example in the cluster belongs to the app aa")
	_, err = c.Uninstall(ctx, cluster.App{Name: "bb", Namespace: "both", Rules: cluster.Rules{PruneNamespaces: true, PruneDefinitions: true}})
	require.NoError(t, err, log)
	assert.Nil(t, get(t, c, "v1", "Namespace", "", "both").GetDeletionTimestamp())
	assert.NotNil(t, get(t, c, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "lamps.both.example"))
	assert.NotNil(t, get(t, c, "v1", "ConfigMap", "both", "a"))
}

// A Job that failed and was left, or whose deploy was killed, is run again by the next deploy: it is no other one by then.
func TestFailedJobRunsAgain(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "again")
	const migration = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec: {backoffLimit: 0, suspend: false, template: {spec: {restartPolicy: Never, containers: [{name: m, image: migrate-fail}]}}}\n"
	r := app(t, "app", "again", migration)
	r.NoRollback = true
	_, err := c.Deploy(ctx, r)
	require.ErrorContains(t, err, "the Job failed")
	before := get(t, c, "batch/v1", "Job", "again", "migrate")
	_, err = c.Deploy(ctx, r)
	require.ErrorContains(t, err, "the Job failed", log)
	now := get(t, c, "batch/v1", "Job", "again", "migrate")
	assert.NotEqual(t, before.GetUID(), now.GetUID(), "it has run once more")
	jobs := testServer(t).Client.BatchV1().Jobs("again")
	require.Eventually(t, func() bool {
		job, err := jobs.Get(ctx, "migrate", metav1.GetOptions{})
		return err == nil && len(job.Status.Conditions) > 0 && job.Status.Conditions[len(job.Status.Conditions)-1].Type == batchv1.JobFailed
	}, waitFor, tick)

	// One that completed is not.
	fine := app(t, "fine", "again", strings.NewReplacer("name: migrate", "name: fine", "migrate-fail", "migrate").Replace(migration))
	_, err = c.Deploy(ctx, fine)
	require.NoError(t, err, log)
	before = get(t, c, "batch/v1", "Job", "again", "fine")
	result, err := c.Deploy(ctx, fine)
	require.NoError(t, err, log)
	assert.False(t, result.Changed())
	assert.Equal(t, before.GetUID(), get(t, c, "batch/v1", "Job", "again", "fine").GetUID())
}

// With a StatefulSet that is deleted, its claims go by its own policy. --recreate is not meant so.
func TestStatefulSetWhoseClaimsGoWithIt(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "retention")
	set := func(size, policy string) cluster.Release {
		return app(t, "app", "retention", `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 0
  serviceName: db
  persistentVolumeClaimRetentionPolicy: {whenDeleted: `+policy+`}
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}, annotations: {size: "`+size+`"}}, spec: {containers: [{name: c, image: db}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: `+size+`}}}}]
`)
	}
	_, err := c.Deploy(ctx, set("1Gi", "Delete"))
	require.NoError(t, err, log)
	before := get(t, c, "apps/v1", "StatefulSet", "retention", "db")
	_, err = c.Deploy(ctx, set("2Gi", "Delete"))
	require.ErrorContains(t, err, "StatefulSet/db: spec.volumeClaimTemplates cannot be changed on an object that exists: give it a new name, since its claims go with it")
	r := set("2Gi", "Delete")
	r.Recreate = true
	_, err = c.Deploy(ctx, r)
	require.ErrorContains(t, err, "--recreate does not delete it without --prune-volumes, since its claims go with it, and their data")
	assert.Equal(t, before.GetUID(), get(t, c, "apps/v1", "StatefulSet", "retention", "db").GetUID())
	r.PruneVolumes = true
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)

	_, err = c.Deploy(ctx, set("2Gi", "Retain"))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, set("3Gi", "Retain"))
	require.ErrorContains(t, err, "spec.volumeClaimTemplates cannot be changed on an object that exists: give it a new name, or delete and create it again with --recreate")
	r = set("3Gi", "Retain")
	r.Recreate = true
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
}

// The older kinds that make pods are waited for.
func TestReplicationControllerThatCannotRun(t *testing.T) {
	t.Parallel()
	ctx, c, _ := setUp(t, "controllers")
	for kind, text := range map[string]string{
		"ReplicationController": "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a}\nspec: {selector: {app: a}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: 'x:missing'}]}}}\n",
		"ReplicaSet":            "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: b}\nspec: {selector: {matchLabels: {app: b}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: c, image: 'x:missing'}]}}}\n",
	} {
		began := time.Now()
		_, err := c.Deploy(ctx, app(t, strings.ToLower(kind), "controllers", text))
		require.ErrorContains(t, err, "does not exist in its registry", kind)
		assert.Less(t, time.Since(began), waitFor)
	}
	pods, err := testServer(t).Client.CoreV1().Pods("controllers").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, pod := range pods.Items {
		assert.NotEqual(t, corev1.PodRunning, pod.Status.Phase)
	}
}
