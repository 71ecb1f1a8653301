package watch_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }

// TestEventsCountByTheServersOrder has a machine whose clock is an hour off in either direction.
func TestEventsCountByTheServersOrder(t *testing.T) {
	c, client := kubetest.Connect(t)
	const namespace = "clocks"
	kubetest.Namespace(t, client, namespace)
	ctx := t.Context()
	write := func(name string, at time.Time) *corev1.Event {
		e, err := client.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: "a"},
			FirstTimestamp: metav1.NewTime(at), LastTimestamp: metav1.NewTime(at), Count: 1,
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		return e
	}
	early, late := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	write("before", late)
	repeated := write("before-and-again", early)
	series := write("before-and-in-a-series", early)

	before, err := watch.TakeBaseline(ctx, c, []string{namespace})
	require.NoError(t, err)
	write("after", early)
	repeated.Count = 2
	_, err = client.CoreV1().Events(namespace).Update(ctx, repeated, metav1.UpdateOptions{})
	require.NoError(t, err)
	series.Series = &corev1.EventSeries{Count: 2, LastObservedTime: metav1.NewMicroTime(early)}
	_, err = client.CoreV1().Events(namespace).Update(ctx, series, metav1.UpdateOptions{})
	require.NoError(t, err)

	w := watch.New(ctx, c, watch.Options{})
	defer w.Close()
	require.NoError(t, w.FollowPods(ctx, namespace))
	var names []string
	for _, e := range w.World().Events {
		if !before.Covers(e) {
			names = append(names, e.Name)
		}
	}
	assert.ElementsMatch(t, []string{"after", "before-and-again", "before-and-in-a-series"}, names)
}

// TestAwaitAsksForTheResourceOfAKind has a kind whose plural cannot be guessed.
func TestAwaitAsksForTheResourceOfAKind(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "plural")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	definition, err := c.Apply(ctx, kubetest.Decode(t, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: oxen.farm.example.com}
spec:
  group: farm.example.com
  scope: Namespaced
  names: {kind: Ox, plural: oxen, singular: ox}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`), kube.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, watch.Await(ctx, c, []*unstructured.Unstructured{definition}, watch.Options{}))
	c.ForgetKinds(ctx)
	ox, err := c.Apply(ctx, kubetest.Decode(t, "{apiVersion: farm.example.com/v1, kind: Ox, metadata: {name: a, namespace: plural}}"), kube.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, watch.Await(ctx, c, []*unstructured.Unstructured{ox}, watch.Options{Namespace: "plural"}))

	w := watch.New(ctx, c, watch.Options{})
	defer w.Close()
	object := watch.ObjectOf(ox)
	require.NoError(t, w.FollowOnly(ctx, object))
	assert.Equal(t, "a", w.Object(object).GetName())
	assert.Error(t, w.FollowOnly(ctx, watch.Object{Kind: schema.GroupVersionKind{Group: "farm.example.com", Version: "v1", Kind: "Cow"}, Namespace: "plural", Name: "b"}))
}

// TestPodsThatLeaveElsewhere counts the pods of all namespaces that are terminating, or whose namespace is, except one that should have ended.
func TestPodsThatLeaveElsewhere(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "elsewhere")
	kubetest.Namespace(t, client, "ending")
	for name, namespace := range map[string]string{"stays": "elsewhere", "leaves": "elsewhere", "goes-with-it": "ending"} {
		_, err := client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{NodeName: "none", Containers: []corev1.Container{{Name: "a", Image: "a"}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	seconds := int64(600)
	require.NoError(t, client.CoreV1().Pods("elsewhere").Delete(t.Context(), "leaves", metav1.DeleteOptions{GracePeriodSeconds: &seconds}))
	require.NoError(t, client.CoreV1().Namespaces().Delete(t.Context(), "ending", metav1.DeleteOptions{}))
	w := watch.New(t.Context(), c, watch.Options{})
	defer w.Close()
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		n, known := w.World().Leaving()
		assert.True(t, known)
		assert.Equal(t, 2, n)
	}, 20*time.Second, 50*time.Millisecond)
}
