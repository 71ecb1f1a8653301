package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

func autoscaler(name string, least int) string {
	return fmt.Sprintf("apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: %s}\n", name) +
		fmt.Sprintf("spec: {minReplicas: %d, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, ", least, name) +
		"metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}\n"
}

// scaledVote is vote with an autoscaler that wants at least so many pods.
func scaledVote(t *testing.T, namespace, tag string, least int) cluster.Release {
	t.Helper()
	r := vote(t, namespace, tag)
	r.Objects = append(r.Objects, manifests(t, autoscaler("vote", least), namespace)...)
	return r
}

// scale does what the autoscaler's controller does.
func scale(t *testing.T, namespace string, replicas int) {
	t.Helper()
	_, err := testServer(t).Client.AppsV1().Deployments(namespace).Patch(context.Background(), "vote", types.MergePatchType,
		fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas), metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale")
	require.NoError(t, err)
}

// replicasOf notes each number of pods that a Deployment is to have, until the returned function is called.
func replicasOf(t *testing.T, client kubernetes.Interface, namespace, name string) func() []int32 {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w, err := client.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(t, err)
	var seen []int32
	var last sync.WaitGroup
	last.Go(func() {
		for event := range w.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok && !slices.Contains(seen, *d.Spec.Replicas) {
				seen = append(seen, *d.Spec.Replicas)
			}
		}
	})
	return func() []int32 {
		w.Stop()
		cancel()
		last.Wait()
		return seen
	}
}

func TestAutoscalerKeepsItsReplicas(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	scaled := func(tag string) cluster.Release { return scaledVote(t, "scaled", tag, 2) }
	_, err := c.Deploy(ctx, scaled("v1"))
	require.NoError(t, err, log)
	scale(t, "scaled", 5)
	_, err = c.Deploy(ctx, scaled("v2"))
	require.NoError(t, err, log)
	assert.EqualValues(t, 5, *getDeployment(t, "scaled").Spec.Replicas)

	again, err := c.Deploy(ctx, scaled("v2"))
	require.NoError(t, err, log)
	assert.False(t, again.Changed(), again.Objects)
	diff, err := c.Diff(ctx, scaled("v2"))
	require.NoError(t, err)
	assert.Empty(t, diff)

	// A release that takes longer than the autoscaler does to change its mind.
	seen := replicasOf(t, s.Client, "scaled", "vote")
	r := scaled("v3")
	r.Strategy = cluster.Strategy{Kind: cluster.Canary, Percent: []int{50}, Hold: true}
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Equal(t, "vote v2 5, vote-canary v3 5", deploymentNames(t, "scaled"))
	scale(t, "scaled", 7)
	_, err = c.Resume(ctx, cluster.App{Name: "vote", Namespace: "scaled"})
	require.NoError(t, err, log)
	assert.Equal(t, "vote v3 7", deploymentNames(t, "scaled"))
	assert.Equal(t, []int32{5, 7}, seen())
}

func TestSecondVersionFollowsTheAutoscaler(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	for _, strategy := range []cluster.Strategy{
		{Kind: cluster.BlueGreen, Pause: 2 * time.Second},
		{Kind: cluster.Canary, Percent: []int{50}, Pause: 2 * time.Second},
	} {
		t.Run(string(strategy.Kind), func(t *testing.T) {
			ctx, log := events(t)
			namespace := "follows-" + string(strategy.Kind)
			scaled := func(tag string) cluster.Release { return scaledVote(t, namespace, tag, 2) }
			_, err := c.Deploy(ctx, scaled("v1"))
			require.NoError(t, err, log)
			second := map[cluster.Kind]string{cluster.BlueGreen: "vote-next", cluster.Canary: "vote-canary"}[strategy.Kind]
			first, beside := replicasOf(t, s.Client, namespace, "vote"), replicasOf(t, s.Client, namespace, second)

			var once sync.Once
			under := report.With(ctx, report.SinkFunc(func(e report.Event) {
				if strings.HasPrefix(e.Message, "watching for") {
					once.Do(func() { scale(t, namespace, 6) })
				}
			}))
			r := scaled("v2")
			r.Strategy = strategy
			_, err = c.Deploy(under, r)
			require.NoError(t, err, log)
			assert.Equal(t, []int32{3, 6}, beside())
			assert.Equal(t, []int32{3, 6}, first())
			assert.Equal(t, "vote v2 6", deploymentNames(t, namespace))
		})
	}
}

func TestRestoreLeavesReplicasToTheAutoscaler(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	scaled := func(tag string) cluster.Release { return scaledVote(t, "scaled-back", tag, 2) }
	_, err := c.Deploy(ctx, scaled("v1"))
	require.NoError(t, err, log)
	var once sync.Once
	under := report.With(ctx, report.SinkFunc(func(e report.Event) {
		if e.Object == "Deployment/vote" && e.Message == cluster.Configured {
			once.Do(func() { scale(t, "scaled-back", 4) })
		}
	}))
	result, err := c.Deploy(under, scaled("missing"))
	require.Error(t, err)
	assert.True(t, result.RolledBack)
	assert.Equal(t, "vote v1 4", deploymentNames(t, "scaled-back"))

	// One that came with the failed release has no say any more.
	ctx, log = events(t)
	_, err = c.Deploy(ctx, vote(t, "scaled-new", "v1"))
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, scaledVote(t, "scaled-new", "missing", 4))
	require.Error(t, err)
	assert.Equal(t, "vote v1 3", deploymentNames(t, "scaled-new"))
}

// Manifests that leave the number out, as they should, and those of an app that kubectl deployed until now.
func TestReplicasThatNobodyApplied(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	newNamespace(t, s, "unowned")
	all := strings.ReplaceAll(voteManifests, "  replicas: 3\n", "") + "---\n" + autoscaler("vote", 1)
	release := func(tag, yaml string) cluster.Release {
		r := vote(t, "unowned", tag)
		r.Objects = manifests(t, yaml, "unowned")
		_, err := render.SetImages(r.Objects, []render.Image{{Ref: r.Image}})
		require.NoError(t, err)
		return r
	}
	_, err := c.Deploy(ctx, release("v1", all))
	require.NoError(t, err, log)
	_, err = s.Client.AppsV1().Deployments("unowned").Patch(ctx, "vote", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{FieldManager: "kubectl"})
	require.NoError(t, err)
	for _, yaml := range []string{all, voteManifests + "---\n" + autoscaler("vote", 1)} {
		_, err = c.Deploy(ctx, release("v2", yaml))
		require.NoError(t, err, log)
		assert.Equal(t, "vote v2 4", deploymentNames(t, "unowned"))
	}
}

// KEDA's ScaledObject makes a HorizontalPodAutoscaler that no manifest holds.
func TestAutoscalerOfSomeoneElse(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "keda", "v1"))
	require.NoError(t, err, log)
	err = applyAndAwait(ctx, c, "keda", manifests(t, autoscaler("vote", 2), "keda"))
	require.NoError(t, err, log)
	scale(t, "keda", 5)
	_, err = c.Deploy(ctx, vote(t, "keda", "v2"))
	require.NoError(t, err, log)
	assert.Equal(t, "vote v2 5", deploymentNames(t, "keda"))

	require.NoError(t, s.Client.AutoscalingV2().HorizontalPodAutoscalers("keda").Delete(ctx, "vote", metav1.DeleteOptions{}))
	_, err = c.Deploy(ctx, vote(t, "keda", "v3"))
	require.ErrorContains(t, err, "spec.replicas is owned by kube-controller-manager")
	r := vote(t, "keda", "v3")
	r.ForceConflicts = true
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Equal(t, "vote v3 3", deploymentNames(t, "keda"))
}

// The cluster has no metrics, so that its autoscaler keeps the number of pods between the two ends, and no more.
func TestOnClusterAutoscalerAndBudget(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	for _, kind := range []cluster.Kind{cluster.Canary, cluster.BlueGreen} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			namespace := "scaled-" + string(kind)
			c.drop(t, namespace)
			r := func(version string, least int) cluster.Release {
				r := c.release(t, namespace, version)
				r.Objects = append(r.Objects, manifests(t, autoscaler("web", least)+
					"---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 2, selector: {matchLabels: {app: web}}}\n", namespace)...)
				return r
			}
			_, err := c.Deploy(progress(t, time.Now()), r("one", 2))
			require.NoError(t, err)
			stop, seen := c.load(t, namespace), replicasOf(t, c.client, namespace, "web")

			release := r("two", 2)
			release.Strategy = cluster.Strategy{Kind: kind, Hold: true, Smoke: []cluster.Smoke{{Body: "two"}}}
			result, err := c.Deploy(progress(t, time.Now()), release)
			require.NoError(t, err)
			require.True(t, result.Held)

			// All three pods of a canary serve. Of a blue-green release one of the two that stand by may go.
			c.evictAll(t, namespace, map[cluster.Kind]int{cluster.Canary: 2, cluster.BlueGreen: 3}[kind])
			hpa, err := c.client.AutoscalingV2().HorizontalPodAutoscalers(namespace).Patch(context.Background(), "web", types.MergePatchType, []byte(`{"spec":{"minReplicas":4}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			require.EqualValues(t, 4, *hpa.Spec.MinReplicas)
			require.Eventually(t, func() bool {
				d, err := c.client.AppsV1().Deployments(namespace).Get(context.Background(), "web", metav1.GetOptions{})
				return err == nil && *d.Spec.Replicas == 4 && d.Status.ReadyReplicas == 4
			}, time.Minute, tick, "the autoscaler")

			_, err = c.Resume(progress(t, time.Now()), cluster.App{Name: "web", Namespace: namespace})
			require.ErrorContains(t, err, "spec.minReplicas is owned by", "a person has taken the field over")
			_, err = c.client.AutoscalingV2().HorizontalPodAutoscalers(namespace).Patch(context.Background(), "web", types.MergePatchType, []byte(`{"spec":{"minReplicas":2}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			result, err = c.Resume(progress(t, time.Now()), cluster.App{Name: "web", Namespace: namespace})
			require.NoError(t, err)
			assert.False(t, result.Held)
			c.awaitPods(t, namespace, 4)
			answers, failed := stop()
			assert.Emptyf(t, slices.Compact(failed), "of %d", answers)
			assert.Equal(t, []int32{2, 4}, seen())
			budgets, err := c.client.PolicyV1().PodDisruptionBudgets(namespace).List(context.Background(), metav1.ListOptions{})
			require.NoError(t, err)
			require.Len(t, budgets.Items, 1)
			assert.Equal(t, map[string]string{"app": "web"}, budgets.Items[0].Spec.Selector.MatchLabels)
			t.Logf("%s: %d requests, %d failed", kind, answers, len(failed))
		})
	}
}

// evictAll asks for the eviction of every pod, one after the other, as the draining of a node does, and expects that the
// budgets leave so many of them.
func (c realCluster) evictAll(t *testing.T, namespace string, left int) {
	t.Helper()
	ctx := context.Background()
	require.Eventually(t, func() bool { // the budgets' controller has counted them
		pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		budgets, failed := c.client.PolicyV1().PodDisruptionBudgets(namespace).List(ctx, metav1.ListOptions{})
		if err != nil || failed != nil {
			return false
		}
		healthy, allowed := 0, 0
		for _, b := range budgets.Items {
			healthy, allowed = healthy+int(b.Status.CurrentHealthy), allowed+int(b.Status.DisruptionsAllowed)
		}
		return healthy == len(pods.Items) && allowed == healthy-left
	}, waitFor, tick)
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	stay := 0
	for _, pod := range list.Items {
		err := c.client.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: namespace}})
		if apierrors.IsTooManyRequests(err) {
			stay++
			continue
		}
		require.NoError(t, err)
	}
	assert.Equal(t, left, stay, "pods that the budgets keep")
	c.awaitPods(t, namespace, len(list.Items))
}

// awaitPods returns when a namespace has so many pods, each of them ready and none on its way out.
func (c realCluster) awaitPods(t *testing.T, namespace string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		list, err := c.client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{})
		return err == nil && len(list.Items) == n && !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool {
			return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
		})
	}, time.Minute, tick)
}
