package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/target/cluster"
)

// watchService notes every selector that the Service vote has, until the returned function is called.
func watchService(t *testing.T, namespace string) func() []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	services := testServer(t).Client.CoreV1().Services(namespace)
	list, err := services.List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	w, err := services.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=vote", ResourceVersion: list.ResourceVersion})
	require.NoError(t, err)
	var mu sync.Mutex
	var seen []string
	var last string // resource version
	for _, s := range list.Items {
		if s.Name == "vote" {
			last = s.ResourceVersion
		}
	}
	done := make(chan struct{})
	see := func(s *corev1.Service) {
		mu.Lock()
		defer mu.Unlock()
		last = s.ResourceVersion
		text := ""
		switch {
		case s.Spec.Selector["aksflow.dev/track"] != "":
			text = "track " + s.Spec.Selector["aksflow.dev/track"]
		case s.Spec.Selector["pod-template-hash"] != "":
			text = "hash"
		default:
			text = "all"
		}
		if len(seen) == 0 || seen[len(seen)-1] != text {
			seen = append(seen, text)
		}
	}
	go func() {
		defer close(done)
		for event := range w.ResultChan() {
			if s, ok := event.Object.(*corev1.Service); ok {
				see(s)
			}
		}
	}()
	return func() []string {
		now, err := services.Get(context.Background(), "vote", metav1.GetOptions{})
		require.NoError(t, err)
		require.Eventually(t, func() bool { // the last event may be on its way
			mu.Lock()
			defer mu.Unlock()
			return last == now.ResourceVersion
		}, waitFor, tick)
		cancel()
		w.Stop()
		<-done
		return seen
	}
}

func deploymentNames(t *testing.T, namespace string) string {
	t.Helper()
	list, err := testServer(t).Client.AppsV1().Deployments(namespace).List(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	var names []string
	for _, d := range list.Items {
		names = append(names, fmt.Sprintf("%s %s %d", d.Name, strings.Split(strings.SplitN(d.Spec.Template.Spec.Containers[0].Image, "@", 2)[0], ":")[2], *d.Spec.Replicas))
	}
	return strings.Join(names, ", ")
}

func TestBlueGreen(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "bluegreen", "v1"))
	require.NoError(t, err, log)

	selectors := watchService(t, "bluegreen")
	r := vote(t, "bluegreen", "v2")
	r.Strategy = cluster.Strategy{Kind: cluster.BlueGreen, Pause: 100 * time.Millisecond}
	result, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Equal(t, []string{"hash", "track next", "all"}, selectors())
	assert.Equal(t, "vote v2 3", deploymentNames(t, "bluegreen"))
	assert.Equal(t, 2, result.Revision)

	again, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.False(t, again.Changed(), again.Objects)
}

func TestBlueGreenHeld(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "held", "v1"))
	require.NoError(t, err, log)
	before := getDeployment(t, "held")

	r := vote(t, "held", "v2")
	r.Strategy = cluster.Strategy{Kind: cluster.BlueGreen, Hold: true}
	result, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.True(t, result.Held)
	assert.Equal(t, 2, result.Revision, "the one that is held")
	assert.Equal(t, "vote v1 3, vote-next v2 3", deploymentNames(t, "held"))

	_, err = c.Deploy(ctx, vote(t, "held", "v3"))
	require.ErrorContains(t, err, "finish it with `aksflow resume`, or undo it with `aksflow abort`")

	of := cluster.App{Name: "vote", Namespace: "held", User: "tester"}
	result, err = c.Abort(ctx, of)
	require.NoError(t, err, log)
	assert.Equal(t, 1, result.Revision)
	assert.Equal(t, "vote v1 3", deploymentNames(t, "held"))
	assert.Equal(t, before.Generation, getDeployment(t, "held").Generation, "the stable version is not touched")
	_, err = c.Resume(ctx, of)
	require.ErrorContains(t, err, "no revision of vote in held is held")

	selectors := watchService(t, "held")
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	result, err = c.Resume(ctx, of)
	require.NoError(t, err, log)
	assert.Equal(t, []string{"hash", "track next", "all"}, selectors())
	assert.Equal(t, 3, result.Revision)
	assert.Equal(t, "vote v2 3", deploymentNames(t, "held"))

	result, err = c.Rollback(ctx, of, 0)
	require.NoError(t, err, log)
	assert.Equal(t, 4, result.Revision)
	assert.Equal(t, "vote v1 3", deploymentNames(t, "held"))
}

func TestCanary(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "canary", "v1"))
	require.NoError(t, err, log)

	r := vote(t, "canary", "v2")
	r.Strategy = cluster.Strategy{Kind: cluster.Canary, Percent: []int{25, 50}, Hold: true}
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Equal(t, "vote v1 3, vote-canary v2 1", deploymentNames(t, "canary"))

	result, err := c.Resume(ctx, cluster.App{Name: "vote", Namespace: "canary"})
	require.NoError(t, err, log)
	assert.Contains(t, log.String(), "50% of the requests, by 3 new of 6 pods")
	assert.Equal(t, "vote v2 3", deploymentNames(t, "canary"))
	assert.Equal(t, 2, result.Revision)
}

func TestCanaryThatFailsIsRemoved(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	_, err := c.Deploy(ctx, vote(t, "canary-bad", "v1"))
	require.NoError(t, err, log)
	before := getDeployment(t, "canary-bad")

	r := vote(t, "canary-bad", "missing")
	r.Strategy = cluster.Strategy{Kind: cluster.Canary}
	result, err := c.Deploy(ctx, r)
	require.ErrorContains(t, err, "does not exist in its registry", log)
	assert.True(t, result.RolledBack)
	assert.Equal(t, "vote v1 3", deploymentNames(t, "canary-bad"))
	assert.Equal(t, before.Generation, getDeployment(t, "canary-bad").Generation)
}

const gateway = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: httproutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: "https://github.com/kubernetes-sigs/gateway-api/pull/1"}
spec:
  group: gateway.networking.k8s.io
  scope: Namespaced
  names: {kind: HTTPRoute, plural: httproutes, singular: httproute, listKind: HTTPRouteList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

func TestCanaryByWeight(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	err := applyAndAwait(ctx, c, "default", manifests(t, gateway, "default"))
	require.NoError(t, err)
	routed := func(tag string) cluster.Release {
		r := vote(t, "weights", tag)
		r.Objects = append(r.Objects, manifests(t, "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: vote}\nspec: {rules: [{backendRefs: [{name: vote, port: 80}]}]}\n", "weights")...)
		return r
	}
	weights := func() string {
		config, err := clientcmd.BuildConfigFromFlags("", testServer(t).Kubeconfig)
		require.NoError(t, err)
		client, err := dynamic.NewForConfig(config)
		require.NoError(t, err)
		route, err := client.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}).Namespace("weights").Get(ctx, "vote", metav1.GetOptions{})
		require.NoError(t, err)
		var out []string
		for _, backend := range route.Object["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)["backendRefs"].([]any) {
			out = append(out, fmt.Sprint(backend.(map[string]any)["name"], " ", backend.(map[string]any)["weight"]))
		}
		return strings.Join(out, ", ")
	}
	_, err = c.Deploy(ctx, routed("v1"))
	require.NoError(t, err, log)
	assert.Equal(t, "vote <nil>", weights())

	r := routed("v2")
	r.Strategy = cluster.Strategy{Kind: cluster.Canary, Percent: []int{10, 40}, Hold: true}
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Equal(t, "vote 90, vote-canary 10", weights())
	assert.Equal(t, "vote v1 3, vote-canary v2 1", deploymentNames(t, "weights"))

	of := cluster.App{Name: "vote", Namespace: "weights"}
	_, err = c.Abort(ctx, of)
	require.NoError(t, err, log)
	assert.Equal(t, "vote <nil>", weights())
	assert.Equal(t, "vote v1 3", deploymentNames(t, "weights"))

	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	_, err = c.Resume(ctx, of)
	require.NoError(t, err, log)
	assert.Contains(t, log.String(), "40% of the requests, by the route's weights")
	assert.Equal(t, "vote <nil>", weights())
	assert.Equal(t, "vote v2 3", deploymentNames(t, "weights"))

	r = routed("v3")
	r.Objects[len(r.Objects)-1].SetLabels(map[string]string{"new": "yes"})
	r.Strategy = cluster.Strategy{Kind: cluster.BlueGreen}
	result, err := c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Contains(t, result.Objects, cluster.ObjectResult{Ref: "HTTPRoute/vote", Status: cluster.Configured}, "a blue-green release has no use for weights")
}
