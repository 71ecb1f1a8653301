package cluster_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

// testCluster is one control plane for all tests, each in namespaces of its own, with pods that run as pretend says.
type testCluster struct {
	Kubeconfig string
	Client     kubernetes.Interface
}

var playing sync.Once

func TestMain(m *testing.M) { kubetest.Main(m) }

func testServer(t testing.TB) testCluster {
	t.Helper()
	kubeconfig := kubetest.Shared(t)
	client := kubetest.Client(t)
	playing.Do(func() { playNodes(context.Background(), client, pretend) })
	return testCluster{kubeconfig, client}
}

// pretend plays the kubelet: an image's tag says how its pods fare.
func pretend(pod *corev1.Pod) bool {
	image := pod.Spec.Containers[0].Image
	switch {
	case strings.Contains(image, ":missing"):
		waiting(pod, "ErrImagePull", fmt.Sprintf(`failed to pull and unpack image %q: failed to resolve reference %q: %s: not found`, image, image, image))
	case strings.Contains(image, ":refused"):
		waiting(pod, "ErrImagePull", fmt.Sprintf(`failed to pull and unpack image %q: failed to resolve reference %q: unexpected status from HEAD request to http://registry/v2/x/manifests/y: 401 Unauthorized`, image, image))
	case strings.Contains(image, ":secretless"):
		waiting(pod, "CreateContainerConfigError", `secret "gone" not found`)
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		ends(pod, map[bool]int32{true: 7}[strings.Contains(image, "-fail")])
	case strings.Contains(image, ":slow"):
		waiting(pod, "ContainerCreating", "")
	}
	return true
}

func connect(t testing.TB) *cluster.Cluster {
	t.Helper()
	s := testServer(t)
	c, err := cluster.Connect(context.Background(), kube.Options{Kubeconfig: s.Kubeconfig})
	require.NoError(t, err)
	return c
}

// events collects what a deploy reports.
func events(t testing.TB) (context.Context, *strings.Builder) {
	var mu sync.Mutex
	var out strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return report.With(ctx, report.SinkFunc(func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&out, "%s %s\n", e.Object, e.Message)
	})), &out
}

// image is a reference whose digest is made of its tag.
func image(tag string) string {
	return fmt.Sprintf("localhost:5000/vote:%s@sha256:%x", tag, sha256.Sum256([]byte(tag)))
}

const voteManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE}
data: {TITLE: Votes}
---
apiVersion: v1
kind: Secret
metadata: {name: redis, namespace: NAMESPACE}
stringData: {password: hush}
---
apiVersion: v1
kind: Service
metadata: {name: vote, namespace: NAMESPACE}
spec:
  selector: {app: vote}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vote
  namespace: NAMESPACE
  labels: {app: vote}
  annotations: {team: voters}
spec:
  replicas: 3
  selector: {matchLabels: {app: vote}}
  template:
    metadata: {labels: {app: vote}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: vote
        ports: [{containerPort: 8080}]
        resources: {requests: {cpu: 50m}}
`

func manifests(t testing.TB, yaml, namespace string) []*unstructured.Unstructured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(yaml, "NAMESPACE", namespace)), 0o600))
	objects, err := render.Render(t.Context(), file, render.Options{})
	require.NoError(t, err)
	return objects
}

func vote(t testing.TB, namespace, tag string) cluster.Release {
	t.Helper()
	yaml := voteManifests
	if tag == "secretless" {
		yaml = strings.Replace(yaml, "        ports: ", "        envFrom: [{secretRef: {name: gone}}]\n        ports: ", 1)
	}
	objects := manifests(t, yaml, namespace)
	_, err := render.SetImages(objects, []render.Image{{Ref: image(tag)}})
	require.NoError(t, err)
	return cluster.Release{App: "vote", Namespace: namespace, Objects: objects, Image: image(tag), SourceRevision: tag, RunURL: "https://ci.example/" + tag, User: "tester"}
}

func newNamespace(t testing.TB, s testCluster, name string) {
	t.Helper()
	kubetest.Namespace(t, s.Client, name)
}

// setUp makes a namespace for a test, and returns what the test deploys with, and what that reports.
func setUp(t testing.TB, namespace string) (context.Context, *cluster.Cluster, *strings.Builder) {
	t.Helper()
	newNamespace(t, testServer(t), namespace)
	ctx, log := events(t)
	return ctx, connect(t), log
}

const (
	waitFor = time.Minute // the tests run beside each other, on machines with two cores
	tick    = 50 * time.Millisecond
)

// applyAndAwait applies what a test needs around its app, and waits until it is ready.
func applyAndAwait(ctx context.Context, c *cluster.Cluster, namespace string, objects []*unstructured.Unstructured) error {
	if _, err := c.Apply(ctx, namespace, objects); err != nil {
		return err
	}
	var live []*unstructured.Unstructured
	for _, o := range objects {
		now, err := c.Kube().Get(ctx, o.GroupVersionKind(), cmp.Or(o.GetNamespace(), namespace), o.GetName())
		if err != nil {
			return err
		}
		live = append(live, now)
	}
	return watch.Await(ctx, c.Kube(), live, watch.Options{Namespace: namespace})
}
