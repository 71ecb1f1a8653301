package cluster_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// What runs is healthy since it was deployed, until a container ends: then since that was started again. What goes away and comes
// back is healthy since it came back.
func TestOnClusterHealth(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	const namespace = "health"
	c.drop(t, namespace)
	ends := []string{"close $c;\n", "close $c;\n            exit 3 if $line =~ m{/crash};\n"}
	first := c.release(t, namespace, "one", ends...)
	_, err := c.Deploy(progress(t, time.Now()), first)
	require.NoError(t, err)
	env := &delivery.Environment{App: first.App, Environment: config.Environment{
		Name: "staging", Namespace: namespace, Cluster: config.Cluster{Kubeconfig: c.kubeconfig},
	}}
	health := func() (target.Running, target.Health) {
		t.Helper()
		running, err := cluster.Target{}.Current(t.Context(), env)
		require.NoError(t, err)
		h, err := cluster.Target{}.Health(t.Context(), env, running)
		require.NoError(t, err)
		return running, h
	}
	running, before := health()
	require.Empty(t, before.Problem)
	assert.False(t, before.Since.Before(running.Since), "not before it was delivered")

	ended := time.Now().Truncate(time.Second)
	c.crash(t, namespace)
	var after target.Health
	require.Eventually(t, func() bool {
		_, after = health()
		return after.Problem == "" && !after.Since.Before(ended)
	}, waitFor, tick, "the soak begins anew")
	_, again := health()
	assert.Equal(t, after.Since, again.Since, "it does not move by itself")

	// Another version, and back: the same image, delivered later.
	second := c.release(t, namespace, "two", ends...)
	_, err = c.Deploy(progress(t, time.Now()), second)
	require.NoError(t, err)
	back := time.Now().Truncate(time.Second)
	_, err = c.Rollback(progress(t, time.Now()), cluster.App{Name: first.App, Namespace: namespace, User: "tester"}, 0)
	require.NoError(t, err)
	running, last := health()
	assert.False(t, running.Since.Before(back))
	assert.False(t, last.Since.Before(back))
}

// crash makes a pod of the app end, and waits until the kubelet started its container again.
func (c realCluster) crash(t *testing.T, namespace string) {
	t.Helper()
	_, _, err := c.Kube().ServiceProxy(t.Context(), namespace, "web", "80", http.MethodGet, "/crash", nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		list, err := c.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
		return err == nil && slices.ContainsFunc(list.Items, restarted)
	}, waitFor, tick)
}

func restarted(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.RestartCount > 0 })
}
