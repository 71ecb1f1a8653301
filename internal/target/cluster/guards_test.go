package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/target/cluster"
)

// app is a release of manifests in a namespace that exists.
func app(t *testing.T, name, namespace, yaml string) cluster.Release {
	t.Helper()
	return cluster.Release{App: name, Namespace: namespace, Objects: manifests(t, yaml, namespace), User: "tester"}
}

// get reads an object; nil when it is not there.
func get(t *testing.T, c *cluster.Cluster, apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	o, err := c.Kube().Get(context.Background(), schema.FromAPIVersionAndKind(apiVersion, kind), namespace, name)
	require.NoError(t, err)
	return o
}

// lamps is a CustomResourceDefinition whose objects have the fields.
func lamps(group, fields string) string {
	return fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: Lamp, plural: lamps, singular: lamp}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: %[2]s}}}}
---
`, group, fields)
}

const settingsOnly = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {k: v}\n---\n"

func TestDefinitionWithItsObjects(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "lamps")
	const lamp = "apiVersion: first.example/v1\nkind: Lamp\nmetadata: {name: one}\nspec: {color: red}\n---\n"
	first := lamp + lamps("first.example", "{color: {type: string}}")
	unified, err := c.Diff(ctx, app(t, "lamps", "lamps", first))
	require.NoError(t, err)
	assert.Contains(t, unified, "new/CustomResourceDefinition/lamps.first.example")
	assert.Contains(t, unified, "new/Lamp/lamps/one")

	_, err = c.Deploy(ctx, app(t, "lamps", "lamps", first))
	require.NoError(t, err, log)
	assert.NotNil(t, get(t, c, "first.example/v1", "Lamp", "lamps", "one"))

	// The definition gains a field that the object uses.
	second := strings.Replace(first, "color: red", "color: red, watts: 5", 1)
	second = strings.Replace(second, "{color: {type: string}}", "{color: {type: string}, watts: {type: integer}}", 1)
	unified, err = c.Diff(ctx, app(t, "lamps", "lamps", second))
	require.NoError(t, err)
	assert.Contains(t, unified, "\n+  watts: 5\n")
	assert.NotContains(t, unified, "\n-kind: Lamp\n", "it is changed, and not deleted")
	_, err = c.Deploy(ctx, app(t, "lamps", "lamps", second))
	require.NoError(t, err, log)
	watts, _, _ := unstructured.NestedInt64(get(t, c, "first.example/v1", "Lamp", "lamps", "one").Object, "spec", "watts")
	assert.EqualValues(t, 5, watts)
}

// TestWhatIsPrunedByName has objects with which more is deleted than themselves, and such as are marked to be kept.
func TestWhatIsPrunedByName(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		yaml, apiVersion, kind, object string
		flag                           string
		allow                          func(*cluster.Release)
	}{
		"definition": {
			lamps("second.example", "{}"), "apiextensions.k8s.io/v1", "CustomResourceDefinition", "lamps.second.example",
			"--prune-definitions", func(r *cluster.Release) { r.PruneDefinitions = true },
		},
		"claim": {
			"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}\n---\n",
			"v1", "PersistentVolumeClaim", "data", "--prune-volumes", func(r *cluster.Release) { r.PruneVolumes = true },
		},
		"kept-by-helm": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: key, annotations: {helm.sh/resource-policy: keep}}\n---\n",
			"v1", "Secret", "key", "--prune-kept", func(r *cluster.Release) { r.PruneKept = true },
		},
		"kept-by-argo": {
			"apiVersion: v1\nkind: Secret\nmetadata: {name: key, annotations: {argocd.argoproj.io/sync-options: 'Prune=false'}}\n---\n",
			"v1", "Secret", "key", "--prune-kept", func(r *cluster.Release) { r.PruneKept = true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			ctx, log := events(t)
			namespace := "named-" + name
			newNamespace(t, testServer(t), namespace)
			in := namespace
			if test.kind == "CustomResourceDefinition" {
				in = ""
			}
			if name == "claim" { // it is bound to nothing, and need not be ready
				r := app(t, "app", namespace, settingsOnly+test.yaml)
				r.Grace = time.Second
				r.NoRollback = true
				_, _ = c.Deploy(ctx, r)
			} else {
				_, err := c.Deploy(ctx, app(t, "app", namespace, settingsOnly+test.yaml))
				require.NoError(t, err, log)
			}
			require.NotNil(t, get(t, c, test.apiVersion, test.kind, in, test.object))

			without := app(t, "app", namespace, settingsOnly)
			unified, err := c.Diff(ctx, without)
			require.NoError(t, err)
			assert.Empty(t, unified)
			_, err = c.Deploy(ctx, without)
			require.NoError(t, err, log)
			assert.Nil(t, get(t, c, test.apiVersion, test.kind, in, test.object).GetDeletionTimestamp())
			assert.Contains(t, log.String(), test.flag)

			test.allow(&without)
			result, err := c.Deploy(ctx, without)
			require.NoError(t, err, log)
			assert.Equal(t, "pruned", result.Objects[1].Status, result.Objects)
		})
	}
}

func TestObjectOfAnotherAppIsRefused(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "shared")
	const mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: only-b}\n---\n"
	_, err := c.Deploy(ctx, app(t, "aa", "shared", settingsOnly))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, app(t, "bb", "shared", mine+strings.Replace(settingsOnly, "k: v", "k: w", 1)))
	require.ErrorContains(t, err, "ConfigMap/settings in namespace shared belongs to the app aa in the namespace shared")
	require.ErrorContains(t, err, "`kubectl label configmap settings -n shared applyset.kubernetes.io/part-of-`")
	assert.Nil(t, get(t, c, "v1", "ConfigMap", "shared", "only-b"), "nothing is applied")
	_, err = c.Diff(ctx, app(t, "bb", "shared", settingsOnly))
	require.ErrorContains(t, err, "belongs to the app aa")

	_, err = c.Deploy(ctx, app(t, "bb", "shared", mine))
	require.NoError(t, err, log)
	data, _, _ := unstructured.NestedString(get(t, c, "v1", "ConfigMap", "shared", "settings").Object, "data", "k")
	assert.Equal(t, "v", data)

	// The advice works.
	_, err = testServer(t).Client.CoreV1().ConfigMaps("shared").Patch(ctx, "settings", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"applyset.kubernetes.io/part-of":null}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	_, err = c.Deploy(ctx, app(t, "bb", "shared", mine+settingsOnly))
	require.NoError(t, err, log)
}

func TestClaimIsNotRecreatedWithoutBeingNamed(t *testing.T) {
	t.Parallel()
	ctx, c, _ := setUp(t, "claims")
	claim := func(mode string) cluster.Release {
		r := app(t, "app", "claims", settingsOnly+"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: ["+mode+"], storageClassName: none, resources: {requests: {storage: 1Gi}}}\n")
		r.Grace, r.NoRollback = time.Second, true
		return r
	}
	_, _ = c.Deploy(ctx, claim("ReadWriteOnce"))
	before := get(t, c, "v1", "PersistentVolumeClaim", "claims", "data")
	require.NotNil(t, before)
	for _, recreate := range []bool{false, true} {
		r := claim("ReadWriteMany")
		r.Recreate = recreate
		_, err := c.Deploy(ctx, r)
		require.ErrorContains(t, err, "PersistentVolumeClaim/data: spec.accessModes cannot be changed on an object that exists: give it a new name")
		assert.NotContains(t, err.Error(), "create it again with")
		now := get(t, c, "v1", "PersistentVolumeClaim", "claims", "data")
		assert.Equal(t, before.GetUID(), now.GetUID())
		assert.Nil(t, now.GetDeletionTimestamp())
	}
	r := claim("ReadWriteMany")
	r.Recreate, r.PruneVolumes = true, true
	_, _ = c.Deploy(ctx, r)
	assert.NotEqual(t, before.GetUID(), get(t, c, "v1", "PersistentVolumeClaim", "claims", "data").GetUID())
}

func TestTerminatingIsNotThere(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	s := testServer(t)
	newNamespace(t, s, "leaving")
	const sticky = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sticky, finalizers: [leaving.example/never]}\n---\n"
	_, err := c.Deploy(ctx, app(t, "app", "leaving", settingsOnly+sticky))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, app(t, "app", "leaving", settingsOnly))
	require.NoError(t, err, log)
	require.NotNil(t, get(t, c, "v1", "ConfigMap", "leaving", "sticky").GetDeletionTimestamp())

	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = c.Deploy(short, app(t, "app", "leaving", settingsOnly+sticky))
	require.ErrorContains(t, err, "ConfigMap/sticky: it is being deleted, and waits for its finalizers leaving.example/never")

	time.AfterFunc(time.Second, func() {
		_, _ = s.Client.CoreV1().ConfigMaps("leaving").Patch(context.Background(), "sticky", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	})
	result, err := c.Deploy(ctx, app(t, "app", "leaving", settingsOnly+sticky))
	require.NoError(t, err, log)
	assert.Equal(t, cluster.Created, statuses(result)["ConfigMap/sticky"])
	assert.Nil(t, get(t, c, "v1", "ConfigMap", "leaving", "sticky").GetDeletionTimestamp())
}

// TestRecreatedIsRestoredWithItsOwners has a selector that changes, and pods that never run.
func TestRecreatedIsRestoredWithItsOwners(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "owners", "v1"))
	require.NoError(t, err, log)
	before := getDeployment(t, "owners")
	r := vote(t, "owners", "missing")
	r.Recreate = true
	for _, o := range r.Objects {
		if o.GetKind() == "Deployment" {
			require.NoError(t, unstructured.SetNestedField(o.Object, "x", "spec", "selector", "matchLabels", "tier"))
			require.NoError(t, unstructured.SetNestedField(o.Object, "x", "spec", "template", "metadata", "labels", "tier"))
		}
	}
	result, err := c.Deploy(ctx, r)
	require.Error(t, err)
	assert.True(t, result.RolledBack, err)
	after := getDeployment(t, "owners")
	assert.NotEqual(t, before.UID, after.UID)
	assert.Equal(t, before.Spec.Selector, after.Spec.Selector)
	assert.Equal(t, owners(before.ManagedFields), owners(after.ManagedFields))
	again, err := c.Deploy(ctx, vote(t, "owners", "v1"))
	require.NoError(t, err, log)
	assert.False(t, again.Changed(), again.Objects)
}

func TestImmutabilityIsFoundByAsking(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "immutable")
	for name, test := range map[string]struct{ before, after, says string }{
		"roleref": {
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: reader}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n",
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: reader}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}\n",
			"RoleBinding/reader: roleRef cannot be changed on an object that exists: give it a new name, or delete and create it again with --recreate",
		},
		"provisioner": {
			"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: immutable}\nprovisioner: example.com/a\n",
			"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: immutable}\nprovisioner: example.com/b\n",
			"StorageClass/immutable: provisioner cannot be changed on an object that exists",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Deploy(ctx, app(t, name, "immutable", test.before))
			require.NoError(t, err, log)
			_, err = c.Deploy(ctx, app(t, name, "immutable", test.after))
			require.ErrorContains(t, err, test.says)
			r := app(t, name, "immutable", test.after)
			r.Recreate = true
			_, err = c.Deploy(ctx, r)
			require.NoError(t, err, log)
		})
	}
	// What is wrong by itself is not called immutable.
	_, err := c.Deploy(ctx, app(t, "wrong", "immutable", strings.Replace(voteManifests, "replicas: 3", "replicas: 1", 1)))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, app(t, "wrong", "immutable", strings.Replace(voteManifests, "replicas: 3", "replicas: -1", 1)))
	require.ErrorContains(t, err, "Deployment/vote is not valid: spec.replicas")
}

func TestStrategyWithoutItsDefaults(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	for name, strategy := range map[string]string{"plain": "{type: Recreate}", "null": "{type: Recreate, rollingUpdate: null}"} {
		namespace := "strategy-" + name
		_, err := c.Deploy(ctx, vote(t, namespace, "v1"))
		require.NoError(t, err, log)
		r := cluster.Release{App: "vote", Namespace: namespace, User: "tester",
			Objects: manifests(t, strings.Replace(voteManifests, "replicas: 3", "replicas: 3\n  strategy: "+strategy, 1), namespace)}
		unified, err := c.Diff(ctx, r)
		require.NoError(t, err)
		assert.Contains(t, unified, "+    type: Recreate")
		_, err = c.Deploy(ctx, r)
		require.NoError(t, err, log)
		assert.Nil(t, getDeployment(t, namespace).Spec.Strategy.RollingUpdate)
		again, err := c.Deploy(ctx, r)
		require.NoError(t, err, log)
		assert.False(t, again.Changed(), again.Objects)
	}
}

func TestKeysOfStringDataLeave(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "stringdata")
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {keep: one, old: two}\n"
	_, err := c.Deploy(ctx, app(t, "app", "stringdata", secret))
	require.NoError(t, err, log)
	next := app(t, "app", "stringdata", strings.Replace(secret, ", old: two", ", new: hush", 1))
	unified, err := c.Diff(ctx, next)
	require.NoError(t, err)
	assert.Contains(t, unified, "-  old: '***'")
	assert.Contains(t, unified, "+  new: '***'")
	assert.NotContains(t, unified, "aHVzaA")
	_, err = c.Deploy(ctx, next)
	require.NoError(t, err, log)
	s, err := testServer(t).Client.CoreV1().Secrets("stringdata").Get(ctx, "s", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{"keep": []byte("one"), "new": []byte("hush")}, s.Data)
}

// TestFieldsOfKubectlAndHelm has objects that other tools applied before, with fields that the manifests lack.
func TestFieldsOfKubectlAndHelm(t *testing.T) {
	t.Parallel()
	c := connect(t)
	s := testServer(t)
	for _, manager := range []string{"kubectl-client-side-apply", "helm"} {
		ctx, log := events(t)
		namespace := "former-" + manager[:4]
		newNamespace(t, s, namespace)
		_, err := s.Client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"k": "v", "old": "b"},
		}, metav1.CreateOptions{FieldManager: manager})
		require.NoError(t, err)
		_, err = s.Client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{
				{Name: "a", Port: 80}, {Name: "b", Port: 81},
			}},
		}, metav1.CreateOptions{FieldManager: manager})
		require.NoError(t, err)
		r := app(t, "app", namespace, settingsOnly+"apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{name: a, port: 80}]}\n")
		_, err = c.Diff(ctx, r)
		require.NoError(t, err)
		assert.Contains(t, log.String(), "ConfigMap/settings has fields that kubectl or Helm applied and the manifests lack: data.old: they stay; --force-conflicts")

		r.ForceConflicts = true
		unified, err := c.Diff(ctx, r)
		require.NoError(t, err)
		assert.Contains(t, unified, "-  old: b")
		assert.Contains(t, unified, "-    port: 81")
		_, err = c.Deploy(ctx, r)
		require.NoError(t, err, log)
		assert.Equal(t, map[string]any{"k": "v"}, get(t, c, "v1", "ConfigMap", namespace, "settings").Object["data"])
		ports, _, _ := unstructured.NestedSlice(get(t, c, "v1", "Service", namespace, "web").Object, "spec", "ports")
		assert.Len(t, ports, 1)
		r.ForceConflicts = false
		unified, err = c.Diff(ctx, r)
		require.NoError(t, err)
		assert.Empty(t, unified)
	}
}

func TestJobRemovedByItsTTL(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "ttl")
	r := app(t, "app", "ttl", `
apiVersion: batch/v1
kind: Job
metadata: {name: mig}
spec:
  ttlSecondsAfterFinished: 1
  template: {spec: {restartPolicy: Never, containers: [{name: mig, image: "registry.example/job:v1"}]}}
---
`+strings.Replace(settingsOnly+voteManifests[strings.LastIndex(voteManifests, "apiVersion"):], "replicas: 3", "replicas: 3\n  minReadySeconds: 5", 1))
	_, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	require.Eventually(t, func() bool { return get(t, c, "batch/v1", "Job", "ttl", "mig") == nil }, waitFor, tick)
	unified, err := c.Diff(ctx, r)
	require.NoError(t, err)
	assert.Empty(t, unified)
	again, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.False(t, again.Changed(), "the Job has run: %v", again.Objects)

	changed := r
	changed.Objects = append(manifests(t, "apiVersion: batch/v1\nkind: Job\nmetadata: {name: mig}\nspec: {ttlSecondsAfterFinished: 1, template: {spec: {restartPolicy: Never, containers: [{name: mig, image: \"registry.example/job:v2\"}]}}}\n", "ttl"), r.Objects[1:]...)
	result, err := c.Deploy(ctx, changed)
	require.NoError(t, err, log)
	assert.Equal(t, cluster.Created, statuses(result)["Job/mig"])
}

// TestJobThatNeedsTheApp has Jobs that complete only when the app runs.
func TestJobThatNeedsTheApp(t *testing.T) {
	t.Parallel()
	c := connect(t)
	s := testServer(t)
	for name, annotation := range map[string]string{
		"plain": "{}", "helm": "{helm.sh/hook: 'post-install,post-upgrade'}", "argo": "{argocd.argoproj.io/sync-wave: '1'}", "own": "{order.aksflow.dev/wave: '5'}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, log := events(t)
			namespace := "needs-" + name
			newNamespace(t, s, namespace)
			done := make(chan struct{})
			go func() { // the Job's pod ends when the app is available
				defer close(done)
				assert.Eventually(t, func() bool {
					d, err := s.Client.AppsV1().Deployments(namespace).Get(ctx, "vote", metav1.GetOptions{})
					return err == nil && d.Status.AvailableReplicas == 3
				}, waitFor, tick)
				assert.Eventually(t, func() bool {
					pods, err := s.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=seed"})
					if err != nil || len(pods.Items) == 0 || len(pods.Items[0].Status.ContainerStatuses) == 0 {
						return false
					}
					ends(&pods.Items[0], 0)
					_, err = s.Client.CoreV1().Pods(namespace).UpdateStatus(ctx, &pods.Items[0], metav1.UpdateOptions{})
					return err == nil
				}, waitFor, tick)
			}()
			_, err := c.Deploy(ctx, app(t, "app", namespace, voteManifests[strings.LastIndex(voteManifests, "apiVersion"):]+`
---
apiVersion: batch/v1
kind: Job
metadata: {name: seed, annotations: `+annotation+`}
spec:
  template: {spec: {restartPolicy: OnFailure, containers: [{name: seed, image: "registry.example/seed:slow"}]}}
`))
			require.NoError(t, err, log)
			<-done
			job, err := s.Client.BatchV1().Jobs(namespace).Get(ctx, "seed", metav1.GetOptions{})
			require.NoError(t, err)
			deployment := getDeployment(t, namespace)
			assert.Equal(t, name == "plain", job.CreationTimestamp.Before(&deployment.CreationTimestamp), log)
		})
	}
}

func TestWaveThatIsNoNumber(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, _ := events(t)
	_, err := c.Deploy(ctx, app(t, "app", "default", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/sync-wave: last}}\n"))
	require.ErrorContains(t, err, `ConfigMap/a: its annotation argocd.argoproj.io/sync-wave is "last": want a whole number`)
	_, err = testServer(t).Client.CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err))
}
