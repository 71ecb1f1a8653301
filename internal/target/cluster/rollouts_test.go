package cluster_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// TestOnClusterRollouts deploys testdata/rollouts/NAME/after.yaml, over before.yaml if there is one. during.yaml comes
// from somebody else two seconds after the first object of the app. The file want holds one of
//
//	green
//	red SECONDS TEXT        the deploy fails within so many seconds, and the error contains the text. The limit is three
//	                        times as long while other tests run beside this one; -parallel 1 holds the figure itself
//	timeout SECONDS TEXT    it is not ready after so many seconds, and the error says what it waits for
func TestOnClusterRollouts(t *testing.T) {
	t.Parallel()
	busy := time.Duration(3)
	if flag.Lookup("test.parallel").Value.String() == "1" {
		busy = 1
	}
	c := onCluster(t)
	// The first pull of the image is not what is timed.
	c.makeNamespace(t, "rollout-first")
	_, err := c.Deploy(progress(t, time.Now()), c.release(t, "rollout-first", "one"))
	require.NoError(t, err)
	cases, err := filepath.Glob("testdata/rollouts/*")
	require.NoError(t, err)
	for _, dir := range cases {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := "rollout-" + name
			c.makeNamespace(t, namespace)
			read := func(file string) string {
				data, err := os.ReadFile(filepath.Join(dir, file))
				if os.IsNotExist(err) {
					return ""
				}
				require.NoError(t, err)
				return strings.ReplaceAll(string(data), "IMAGE", c.image)
			}
			release := func(file string) cluster.Release {
				return cluster.Release{App: "app", Namespace: namespace, Objects: manifests(t, read(file), namespace), User: "tester"}
			}
			if read("before.yaml") != "" {
				_, err := c.Deploy(progress(t, time.Now()), release("before.yaml"))
				require.NoError(t, err)
			}
			verdict, rest, _ := strings.Cut(strings.TrimSpace(read("want")), " ")
			limit, text, _ := strings.Cut(rest, " ")
			seconds, _ := strconv.Atoi(limit)
			ctx := progress(t, time.Now())
			if verdict == "timeout" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
				defer cancel()
			}
			if during := read("during.yaml"); during != "" {
				ctx = c.applyDuring(ctx, t, namespace, during)
			}
			began := time.Now()
			_, err := c.Deploy(ctx, release("after.yaml"))
			took := time.Since(began)
			t.Logf("%s, %s after %.1f s: %v", name, verdict, took.Seconds(), err)
			switch verdict {
			case "green":
				require.NoError(t, err)
			case "red":
				require.ErrorContains(t, err, text)
				assert.NotContains(t, err.Error(), "is not ready again")
				assert.NotContains(t, err.Error(), "not ready in time")
				assert.Less(t, took, busy*time.Duration(seconds)*time.Second)
			default:
				require.ErrorContains(t, err, "not ready in time")
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// TestOnClusterWrongPlatform deploys an image that exists, for arm64 only.
func TestOnClusterWrongPlatform(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	namespace := "wrong-platform"
	c.makeNamespace(t, namespace)
	source, err := name.ParseReference(c.image)
	require.NoError(t, err)
	image, err := remote.Image(source)
	require.NoError(t, err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	digest, err := index.Digest()
	require.NoError(t, err)
	arm := source.Context().Digest(digest.String())
	require.NoError(t, remote.WriteIndex(arm, index))
	_, err = c.Deploy(progress(t, time.Now()), c.release(t, namespace, "one", "IMAGE", arm.String()))
	require.ErrorContains(t, err, "exists, but has no variant for linux/amd64, the platform of node")
}

// TestOnClusterAddedByAdmission has a policy that mounts a ConfigMap into each pod, as the sidecar of a mesh does, and a
// controller that makes the ConfigMap later than a missing one of the manifests may come.
func TestOnClusterAddedByAdmission(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	const namespace = "added-by-admission"
	c.makeNamespace(t, namespace)
	for _, o := range manifests(t, meshPolicy, namespace) {
		_, err := c.Kube().Apply(t.Context(), o, kube.ApplyOptions{})
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		admission := c.client.AdmissionregistrationV1()
		assert.NoError(t, admission.MutatingAdmissionPolicyBindings().Delete(context.Background(), namespace, metav1.DeleteOptions{}))
		assert.NoError(t, admission.MutatingAdmissionPolicies().Delete(context.Background(), namespace, metav1.DeleteOptions{}))
	})
	pods := c.client.CoreV1().Pods(namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "try"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "try", Image: c.image}}}}
	require.Eventually(t, func() bool {
		made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil && strings.Contains(made.String(), "mesh-ca")
	}, time.Minute, 200*time.Millisecond, "the policy is not in force")

	r := c.release(t, namespace, "one")
	r.Grace = time.Second
	seen := make(chan struct{}, 1)
	ctx := report.With(progress(t, time.Now()), report.SinkFunc(func(e report.Event) {
		t.Logf("%s %s", e.Object, e.Message)
		if strings.Contains(e.Message, `ConfigMap "mesh-ca" is missing: a controller of the cluster, since no manifest names it, should make it`) {
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	}))
	made := make(chan error, 1)
	go func() {
		select {
		case <-seen:
		case <-ctx.Done():
		}
		time.Sleep(2 * r.Grace) // a ConfigMap that the manifests name would be red by now
		_, err := c.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mesh-ca"}}, metav1.CreateOptions{})
		made <- err
	}()
	_, err := c.Deploy(ctx, r)
	require.NoError(t, err)
	assert.NoError(t, <-made)
}

const meshPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NAMESPACE}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  reinvocationPolicy: Never
  failurePolicy: Fail
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >-
        Object{spec: Object.spec{
          volumes: [Object.spec.volumes{name: "mesh", configMap: Object.spec.volumes.configMap{name: "mesh-ca"}}],
          containers: object.spec.containers.map(c, Object.spec.containers{
            name: c.name, volumeMounts: [Object.spec.containers.volumeMounts{name: "mesh", mountPath: "/mesh"}]})}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NAMESPACE}
spec: {policyName: NAMESPACE}
`

func (c realCluster) makeNamespace(t *testing.T, namespace string) {
	t.Helper()
	_, err := c.client.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	c.drop(t, namespace)
}

// applyDuring returns a context whose deploy is answered by objects that come two seconds after its first one.
func (c realCluster) applyDuring(ctx context.Context, t *testing.T, namespace, yaml string) context.Context {
	objects := manifests(t, yaml, namespace)
	once := make(chan struct{}, 1)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-once:
		}
		time.Sleep(2 * time.Second) // the kubelet has to miss them first
		for _, o := range objects {
			o.SetNamespace(namespace)
			_, err := c.Kube().Apply(ctx, o, kube.ApplyOptions{})
			assert.NoError(t, err)
		}
	}()
	return report.With(ctx, report.SinkFunc(func(e report.Event) {
		t.Logf("%s %s", e.Object, e.Message)
		if e.Object != "" {
			select {
			case once <- struct{}{}:
			default:
			}
		}
	}))
}

// TestCredentialsThatAreRevoked has a token that ends while the deploy waits. Nothing can be put back then, and the error
// says so at once. The next deploy, with good credentials, finishes.
func TestCredentialsThatAreRevoked(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	const namespace = "revoked"
	newNamespace(t, s, namespace)
	deployer := asDeployer(t, s, namespace, "")
	ctx, log := events(t)
	_, err := deployer.Deploy(ctx, vote(t, namespace, "v1"))
	require.NoError(t, err, log)

	slow, cancel := context.WithTimeout(ctx, 14*time.Second) // the API server remembers a good token for 10 s
	defer cancel()
	slow = report.With(slow, report.SinkFunc(func(e report.Event) {
		if e.Object == "Deployment/vote" && e.Message == cluster.Configured {
			assert.NoError(t, s.Client.CoreV1().ServiceAccounts(namespace).Delete(ctx, "deployer", metav1.DeleteOptions{}))
		}
	}))
	began := time.Now()
	result, err := deployer.Deploy(slow, vote(t, namespace, "slow"))
	require.ErrorContains(t, err, "not everything could be put back")
	require.ErrorContains(t, err, "the API server does not accept the credentials any more")
	assert.False(t, result.RolledBack)
	assert.Less(t, time.Since(began), 30*time.Second)

	_, err = connect(t).Deploy(ctx, vote(t, namespace, "v3"))
	require.NoError(t, err, log)
}
