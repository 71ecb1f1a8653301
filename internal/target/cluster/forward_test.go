package cluster_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/kube"
)

// A forwarded address answers for the pod that is picked when a connection is made, and says why one could not be passed on.
func TestOnClusterForward(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	const namespace = "forward"
	c.drop(t, namespace)
	newNamespace(t, testCluster{c.kubeconfig, c.client}, namespace)
	deployer := asDeployer(t, testCluster{c.kubeconfig, c.client}, namespace, "")
	_, err := deployer.Deploy(progress(t, time.Now()), c.release(t, namespace, "one"))
	require.NoError(t, err)

	newest := func(port int) func(context.Context) (kube.Target, error) {
		return func(ctx context.Context) (kube.Target, error) {
			pod, err := c.Kube().AwaitPod(ctx, namespace, map[string]string{"app": "web"}, func(pod *corev1.Pod) bool {
				return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
					return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
				})
			})
			if err != nil {
				return kube.Target{}, err
			}
			return kube.Target{Namespace: namespace, Pod: pod.Name, Port: port}, nil
		}
	}
	none := func(err error) { t.Errorf("not passed on: %v", err) }
	address, err := c.Kube().Forward(t.Context(), newest(8080), none)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	get := func(address string) (string, error) {
		resp, err := client.Get("http://" + address + "/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	for range 3 {
		body, err := get(address)
		require.NoError(t, err)
		assert.Equal(t, "one", body)
	}
	require.NoError(t, c.client.CoreV1().Pods(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	c.awaitPods(t, namespace, 2)
	body, err := get(address)
	require.NoError(t, err)
	assert.Equal(t, "one", body, "from a pod that did not exist when the address was made")

	for name, test := range map[string]struct {
		from *kube.Cluster
		port int
		want string
	}{
		"nothing listens there": {c.Kube(), 9, "connection refused"},
		"a right is missing":    {deployer.Kube(), 8080, "pods/portforward"},
	} {
		failed := make(chan error, 1)
		address, err := test.from.Forward(t.Context(), newest(test.port), func(err error) { failed <- err })
		require.NoError(t, err, name)
		_, err = get(address)
		require.Error(t, err, name)
		select {
		case err := <-failed:
			assert.ErrorContains(t, err, test.want, name)
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it is not said why", name)
		}
	}
}
