package wait

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/testing/gittest"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

func TestMain(m *testing.M) {
	kubetest.Main(m)
}

// The kinds in the versions that the test defines.
var (
	applications    = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"}
	kustomizations  = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	gitRepositories = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	applicationSets = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "ApplicationSet"}
	helmReleases    = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}
)

const (
	repoURL = "https://git.example.com/shop/config.git"
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// testbed is a real API server with real controllers. The test plays the operator and the kubelet: it says what they
// write into the status of their objects.
type testbed struct {
	t          *testing.T
	kubeconfig string
	config     *clientcmdapi.Config
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	namespace  string
	background sync.WaitGroup // what plays the cluster; the test waits for it
}

func newTestbed(t *testing.T) *testbed {
	b := &testbed{t: t, kubeconfig: kubetest.Shared(t)}
	t.Cleanup(b.background.Wait)
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	b.client = kubernetes.NewForConfigOrDie(config)
	b.dynamic = dynamic.NewForConfigOrDie(config)
	b.config, err = clientcmd.LoadFromFile(b.kubeconfig)
	require.NoError(t, err)
	ns, err := b.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "wait-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	b.namespace = ns.Name
	for _, gvk := range []schema.GroupVersionKind{applications, kustomizations, gitRepositories, helmReleases, applicationSets} {
		b.define(gvk)
	}
	return b
}

// define makes a kind known, with any content.
func (b *testbed) define(gvk schema.GroupVersionKind) {
	singular, plural := strings.ToLower(gvk.Kind), plural(gvk)
	definitions := b.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err := definitions.Apply(b.t.Context(), plural+"."+gvk.Group, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + "." + gvk.Group},
		"spec": map[string]any{
			"group": gvk.Group, "scope": "Namespaced", "names": map[string]any{"kind": gvk.Kind, "plural": plural, "singular": singular},
			"versions": []any{map[string]any{
				"name": gvk.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}, metav1.ApplyOptions{FieldManager: "test", Force: true})
	require.NoError(b.t, err)
	require.Eventually(b.t, func() bool {
		_, err := b.of(gvk).List(b.t.Context(), metav1.ListOptions{})
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
}

func (b *testbed) of(gvk schema.GroupVersionKind) dynamic.ResourceInterface {
	return b.dynamic.Resource(gvk.GroupVersion().WithResource(plural(gvk))).Namespace(b.namespace)
}

// plural returns the resource of a kind, for those that the test has.
func plural(gvk schema.GroupVersionKind) string {
	return strings.Replace(strings.ToLower(gvk.Kind)+"s", "ys", "ies", 1)
}

func (b *testbed) create(gvk schema.GroupVersionKind, name string, spec map[string]any) {
	_, err := b.of(gvk).Create(b.t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}, metav1.CreateOptions{})
	require.NoError(b.t, err)
}

// application makes an Application that follows the repository, synced automatically or not.
func (b *testbed) application(name string, automated bool) {
	policy := map[string]any{}
	if automated {
		policy["automated"] = map[string]any{}
	}
	b.create(applications, name, map[string]any{
		"source": map[string]any{"repoURL": "https://git.example.com/shop/config", "path": "./env/dev/", "targetRevision": "main"}, "syncPolicy": policy,
	})
}

// when runs do once an object has what it is asked for, in the background.
func (b *testbed) when(gvk schema.GroupVersionKind, name string, has func(*unstructured.Unstructured) bool, do func(*unstructured.Unstructured)) {
	watcher, err := b.of(gvk).Watch(b.t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	require.NoError(b.t, err)
	b.background.Go(func() {
		defer watcher.Stop()
		for e := range watcher.ResultChan() {
			if o, ok := e.Object.(*unstructured.Unstructured); ok && has(o) {
				do(o)
				return
			}
		}
	})
}

// patch merges a patch into an object.
func (b *testbed) patch(gvk schema.GroupVersionKind, name string, patch map[string]any) {
	body, err := json.Marshal(patch)
	if assert.NoError(b.t, err) {
		_, err = b.of(gvk).Patch(context.WithoutCancel(b.t.Context()), name, types.MergePatchType, body, metav1.PatchOptions{})
		assert.NoError(b.t, err)
	}
}

func refreshAsked(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()[refreshAnnotation] != ""
}

// answer plays Argo CD: when it is asked to look, its status becomes this one.
func (b *testbed) answer(app string, status map[string]any) {
	b.when(applications, app, refreshAsked, func(*unstructured.Unstructured) {
		b.patch(applications, app, map[string]any{"metadata": map[string]any{"annotations": map[string]any{refreshAnnotation: nil}}, "status": status})
	})
}

// synced is the status of an Application that has applied a revision with workloads.
func (b *testbed) synced(revision string, deployments ...string) map[string]any {
	var resources []any
	for _, d := range append(deployments, "") {
		if d == "" {
			resources = append(resources, map[string]any{"version": "v1", "kind": "Service", "namespace": b.namespace, "name": "vote"})
			continue
		}
		resources = append(resources, map[string]any{"group": "apps", "version": "v1", "kind": "Deployment", "namespace": b.namespace, "name": d})
	}
	return map[string]any{"sync": map[string]any{"status": "Synced", "revision": revision}, "resources": resources}
}

func voteImage(n int) string {
	return fmt.Sprintf("registry.example.com/shop/vote:%d@%s", n, gittest.Digest(n))
}

// deploy makes a Deployment, whose pods are made by the real controllers.
func (b *testbed) deploy(name, image string) { b.deployWith(name, image, func(*appsv1.Deployment) {}) }

func (b *testbed) deployWith(name, image string, change func(*appsv1.Deployment)) {
	replicas, labels := int32(2), map[string]string{"app": name}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "app", Image: image}},
			}},
		},
	}
	change(deployment)
	_, err := b.client.AppsV1().Deployments(b.namespace).Create(b.t.Context(), deployment, metav1.CreateOptions{})
	require.NoError(b.t, err)
}

// kubelet plays the node: every pod gets the status that how gives it.
func (b *testbed) kubelet(how func(*corev1.Pod)) {
	watcher, err := b.client.CoreV1().Pods(b.namespace).Watch(b.t.Context(), metav1.ListOptions{})
	require.NoError(b.t, err)
	b.background.Go(func() {
		defer watcher.Stop()
		for e := range watcher.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok || len(pod.Status.ContainerStatuses) > 0 || pod.DeletionTimestamp != nil {
				continue
			}
			how(pod)
			_, _ = b.client.CoreV1().Pods(b.namespace).UpdateStatus(b.t.Context(), pod, metav1.UpdateOptions{})
		}
	})
}

func running(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodRunning
	now := metav1.NewTime(time.Now().Add(-time.Second))
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
	}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
}

func pulling(pod *corev1.Pod) {
	pod.Status.Phase = corev1.PodPending
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
				Reason: "ErrImagePull", Message: fmt.Sprintf("failed to pull and unpack image %q: %s: not found", c.Image, c.Image),
			}},
		})
	}
}

func (b *testbed) options() Options {
	return Options{Kubeconfig: b.kubeconfig, Namespace: b.namespace, RepoURL: repoURL, Branch: "main", Path: "env/dev", Commit: commitA, Image: voteImage(1)}
}

func (b *testbed) wait(o Options, limit time.Duration) (*Result, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	return Until(ctx, o)
}

// account returns the kubeconfig of an account that may do what manifests/rbac/wait.yaml grants, and nothing more.
func (b *testbed) account() string {
	content, err := os.ReadFile("../../../../manifests/rbac/wait.yaml")
	require.NoError(b.t, err)
	for _, doc := range strings.Split(string(content), "\n---\n") {
		object := &unstructured.Unstructured{}
		require.NoError(b.t, utilyaml.Unmarshal([]byte(doc), &object.Object))
		name := object.GetName()
		resource := b.dynamic.Resource(object.GroupVersionKind().GroupVersion().WithResource(plural(object.GroupVersionKind())))
		var in dynamic.ResourceInterface = resource
		if object.GetNamespace() != "" { // both bindings, and the account, into the test's namespace
			object.SetNamespace(b.namespace)
			if object.GetKind() == "RoleBinding" {
				name += "-" + strings.TrimPrefix(field(object, "roleRef", "name"), "aksflow-wait-")
				object.SetName(name)
				subjects, _, _ := unstructured.NestedSlice(object.Object, "subjects")
				subjects[0].(map[string]any)["namespace"] = b.namespace
				require.NoError(b.t, unstructured.SetNestedSlice(object.Object, subjects, "subjects"))
			}
			in = resource.Namespace(b.namespace)
		}
		_, err := in.Apply(b.t.Context(), name, object, metav1.ApplyOptions{FieldManager: "test"})
		require.NoError(b.t, err)
	}
	token, err := b.client.CoreV1().ServiceAccounts(b.namespace).CreateToken(b.t.Context(), "aksflow-wait", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(b.t, err)
	config := b.config.DeepCopy()
	for _, user := range config.AuthInfos {
		*user = clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	file := b.t.TempDir() + "/kubeconfig"
	require.NoError(b.t, clientcmd.WriteToFile(*config, file))
	return file
}

func TestWaitForArgoCD(t *testing.T) {
	t.Parallel()
	t.Run("until the pods run the digest, as a read-only account", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.deploy("vote", voteImage(1))
		b.deploy("redis", "redis:8")
		b.kubelet(running)
		b.answer("vote", b.synced(commitA, "vote", "redis"))
		o := b.options()
		o.Kubeconfig = b.account()
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, &Result{
			Operator: ArgoCD, Name: b.namespace + "/vote", Revision: commitA,
			Objects: []Object{{"Deployment/" + b.namespace + "/vote", true, "2 of 2 pods run " + gittest.Digest(1)}},
		}, result)

		o.Image = voteImage(2)
		b.answer("vote", b.synced(commitA, "vote", "redis"))
		_, err = b.wait(o, 3*time.Second)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "Deployment/"+b.namespace+"/vote: still has "+voteImage(1))
	})
	t.Run("through an older revision, which is not the answer", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		b.answer("vote", b.synced(commitB, "vote"))
		o := b.options()
		o.Contains = func(_ context.Context, revision, commit string) (bool, error) {
			if revision == commitB { // seen; now comes the commit
				b.patch(applications, "vote", map[string]any{"status": b.synced(commitA, "vote")})
			}
			return revision == commit, nil
		}
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, commitA, result.Revision)
	})
	t.Run("image that does not exist", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.deploy("vote", voteImage(1))
		b.kubelet(pulling)
		b.answer("vote", b.synced(commitA, "vote"))
		began := time.Now()
		_, err := b.wait(b.options(), 60*time.Second)
		require.ErrorContains(t, err, "Deployment/"+b.namespace+"/vote: container app of pod vote-")
		require.ErrorContains(t, err, "does not exist in its registry")
		assert.Less(t, time.Since(began), 20*time.Second)
	})
	t.Run("sync failed", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		failed := func(startedAt string) map[string]any {
			return map[string]any{
				"sync": map[string]any{"status": "OutOfSync", "revision": commitA},
				"operationState": map[string]any{"phase": "Failed", "startedAt": startedAt, "message": "one or more objects failed to apply", "syncResult": map[string]any{
					"revision":  commitA,
					"resources": []any{map[string]any{"kind": "Deployment", "namespace": "x", "name": "vote", "status": "SyncFailed", "message": "quota\nexceeded"}},
				}},
			}
		}
		const early, late, why = "2026-11-26T12:00:00Z", "2026-11-26T12:00:09Z", ": one or more objects failed to apply; Deployment/x/vote: quota exceeded"
		b.answer("vote", failed(early))
		_, err := b.wait(b.options(), 30*time.Second)
		require.EqualError(t, err, "Application "+b.namespace+"/vote"+why+"; Argo CD does not sync this revision again by itself: when the cause is gone, sync it in Argo CD, or pass --sync")

		// With --sync it is tried once more. Until it began, the status says what the last one came to.
		o := b.options()
		o.Sync = true
		asked := func(then map[string]any) {
			b.answer("vote", failed(early))
			b.when(applications, "vote", func(o *unstructured.Unstructured) bool { return field(o, "operation", "sync", "revision") == commitA },
				func(*unstructured.Unstructured) {
					time.Sleep(2 * settleDelay) // for a look at what is there until then
					b.patch(applications, "vote", map[string]any{"operation": nil, "status": then})
				})
		}
		asked(failed(late))
		_, err = b.wait(o, 30*time.Second)
		require.EqualError(t, err, "Application "+b.namespace+"/vote"+why)
		synced := b.synced(commitA, "vote")
		synced["operationState"] = map[string]any{"phase": "Succeeded", "startedAt": late}
		asked(synced)
		_, err = b.wait(o, 30*time.Second)
		require.NoError(t, err)
	})
	t.Run("manifests that cannot be rendered", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.answer("vote", map[string]any{"conditions": []any{map[string]any{"type": "ComparisonError", "message": "kustomize build failed"}}})
		o := b.options()
		o.Grace = time.Second
		_, err := b.wait(o, 30*time.Second)
		require.EqualError(t, err, "Application "+b.namespace+"/vote: kustomize build failed")
	})
	t.Run("not synced automatically", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", false)
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		outOfSync := b.synced(commitA, "vote")
		outOfSync["sync"] = map[string]any{"status": "OutOfSync", "revision": commitA}
		b.answer("vote", outOfSync)
		_, err := b.wait(b.options(), 30*time.Second)
		require.ErrorContains(t, err, "is not synced automatically: sync it in Argo CD, or pass --sync")

		b.answer("vote", outOfSync)
		b.when(applications, "vote", func(o *unstructured.Unstructured) bool { return field(o, "operation", "sync", "revision") == commitA },
			func(*unstructured.Unstructured) {
				b.patch(applications, "vote", map[string]any{"operation": nil, "status": b.synced(commitA, "vote")})
			})
		o := b.options()
		o.Sync = true
		_, err = b.wait(o, 30*time.Second)
		require.NoError(t, err)
	})
	t.Run("operator that is down", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		o := b.options()
		o.operatorTimeout = time.Second
		_, err := b.wait(o, 30*time.Second)
		require.ErrorContains(t, err, "Argo CD has not looked at it for 1s: check that its application-controller is running")
	})
	t.Run("workload that has another image", func(t *testing.T) {
		b := newTestbed(t)
		b.application("vote", true)
		b.deploy("vote", "shop/other:1")
		b.answer("vote", b.synced(commitA, "vote"))
		_, err := b.wait(b.options(), 30*time.Second)
		require.ErrorContains(t, err, "no workload of it runs registry.example.com/shop/vote; they run shop/other:1")
	})
	t.Run("who is meant", func(t *testing.T) {
		b := newTestbed(t)
		o := b.options()
		_, err := b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "follows path env/dev of "+repoURL)
		b.application("one", true)
		b.application("two", true)
		_, err = b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "2 Applications could be meant")
		o.Name = "three"
		_, err = b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "there is no Application or Kustomization "+b.namespace+"/three")
		o.Kubeconfig = "/nowhere"
		_, err = b.wait(o, 10*time.Second)
		require.ErrorContains(t, err, "no kubeconfig at /nowhere")
	})
}

func TestWaitForFlux(t *testing.T) {
	t.Parallel()
	source := func(b *testbed, suspended bool) {
		b.create(gitRepositories, "config", map[string]any{"url": "ssh://git@git.example.com/shop/config", "ref": map[string]any{"branch": "main"}})
		b.create(kustomizations, "vote", map[string]any{"path": "./env/dev", "sourceRef": map[string]any{"kind": "GitRepository", "name": "config"}, "suspend": suspended})
	}
	asked := func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[reconcileAnnotation] != "" }
	fetched := func(b *testbed, commit string) {
		b.when(gitRepositories, "config", asked, func(o *unstructured.Unstructured) {
			b.patch(gitRepositories, "config", map[string]any{"status": map[string]any{
				"lastHandledReconcileAt": o.GetAnnotations()[reconcileAnnotation], "artifact": map[string]any{"revision": "main@sha1:" + commit},
			}})
		})
	}
	applied := func(b *testbed, status map[string]any) {
		b.when(kustomizations, "vote", asked, func(o *unstructured.Unstructured) {
			status["lastHandledReconcileAt"] = o.GetAnnotations()[reconcileAnnotation]
			b.patch(kustomizations, "vote", map[string]any{"status": status})
		})
	}
	t.Run("until the pods run the digest", func(t *testing.T) {
		b := newTestbed(t)
		source(b, false)
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		fetched(b, commitA)
		applied(b, map[string]any{
			"lastAttemptedRevision": "main@sha1:" + commitA, "lastAppliedRevision": "main@sha1:" + commitA,
			"inventory": map[string]any{"entries": []any{
				map[string]any{"id": b.namespace + "_vote_apps_Deployment", "v": "v1"}, map[string]any{"id": b.namespace + "_vote__Service", "v": "v1"},
			}},
		})
		o := b.options()
		o.Kubeconfig = b.account()
		result, err := b.wait(o, 30*time.Second)
		require.NoError(t, err)
		assert.Equal(t, Flux, result.Operator)
		assert.Equal(t, commitA, result.Revision)
		assert.Len(t, result.Objects, 1)
	})
	t.Run("manifests that cannot be built", func(t *testing.T) {
		b := newTestbed(t)
		source(b, false)
		fetched(b, commitA)
		applied(b, map[string]any{
			"lastAttemptedRevision": "main@sha1:" + commitA,
			"conditions":            []any{map[string]any{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "kustomize build failed"}},
		})
		_, err := b.wait(b.options(), 30*time.Second)
		require.EqualError(t, err, "Kustomization "+b.namespace+"/vote: kustomize build failed")
	})
	t.Run("the same revision could not be built before", func(t *testing.T) {
		b := newTestbed(t)
		source(b, false)
		b.deploy("vote", voteImage(1))
		b.kubelet(running)
		b.patch(kustomizations, "vote", map[string]any{"status": map[string]any{
			"lastAttemptedRevision": "main@sha1:" + commitA,
			"conditions":            []any{map[string]any{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "no key to decrypt with"}},
		}})
		fetched(b, commitA)
		b.when(gitRepositories, "config", func(o *unstructured.Unstructured) bool { return field(o, "status", "artifact", "revision") != "" }, func(*unstructured.Unstructured) {
			time.Sleep(2 * settleDelay) // for a look at what is there until then
			applied(b, map[string]any{
				"lastAppliedRevision": "main@sha1:" + commitA, "conditions": nil,
				"inventory": map[string]any{"entries": []any{map[string]any{"id": b.namespace + "_vote_apps_Deployment", "v": "v1"}}},
			})
		})
		_, err := b.wait(b.options(), 30*time.Second)
		require.NoError(t, err)
	})
	t.Run("suspended", func(t *testing.T) {
		b := newTestbed(t)
		source(b, true)
		_, err := b.wait(b.options(), 30*time.Second)
		require.ErrorContains(t, err, "Kustomization vote is suspended: resume it with `flux resume`")
	})
	t.Run("controller that is down", func(t *testing.T) {
		b := newTestbed(t)
		source(b, false)
		o := b.options()
		o.operatorTimeout = time.Second
		_, err := b.wait(o, 30*time.Second)
		require.ErrorContains(t, err, "check that its source-controller is running")
	})
}

// argoAPI answers as Argo CD's API server does, out of the real API server's objects, for one token.
func argoAPI(t *testing.T, b *testbed) *httptest.Server {
	var mu sync.Mutex
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // a client of a stream goes when it likes
	}
	app := func(w http.ResponseWriter, name string) *unstructured.Unstructured {
		o, err := b.of(applications).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			http.Error(w, `{"message":"permission denied"}`, http.StatusForbidden)
			return nil
		}
		return o
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /argo/api/v1/applications", func(w http.ResponseWriter, r *http.Request) {
		list, err := b.of(applications).List(r.Context(), metav1.ListOptions{})
		assert.NoError(t, err)
		answer(w, map[string]any{"items": list.Items})
	})
	mux.HandleFunc("GET /argo/api/v1/applications/{name}", func(w http.ResponseWriter, r *http.Request) {
		o := app(w, r.PathValue("name"))
		if o == nil {
			return
		}
		if r.FormValue("refresh") == "normal" && field(o, "status", "sync", "status") == "" {
			mu.Lock()
			b.patch(applications, r.PathValue("name"), map[string]any{"status": b.synced(commitA, "vote")})
			mu.Unlock()
		}
		if o := app(w, r.PathValue("name")); o != nil {
			answer(w, o.Object)
		}
	})
	mux.HandleFunc("GET /argo/api/v1/stream/applications", func(w http.ResponseWriter, r *http.Request) {
		watcher, err := b.of(applications).Watch(r.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + r.FormValue("name")})
		if err != nil {
			return
		}
		defer watcher.Stop()
		for e := range watcher.ResultChan() {
			answer(w, map[string]any{"result": map[string]any{"type": e.Type, "application": e.Object}})
			w.(http.Flusher).Flush()
		}
	})
	tree := func(r *http.Request) map[string]any {
		pods, err := b.client.CoreV1().Pods(b.namespace).List(r.Context(), metav1.ListOptions{})
		nodes := []any{}
		if err == nil {
			for _, p := range pods.Items {
				nodes = append(nodes, map[string]any{"version": "v1", "kind": "Pod", "namespace": p.Namespace, "name": p.Name})
			}
		}
		return map[string]any{"nodes": nodes}
	}
	mux.HandleFunc("GET /argo/api/v1/applications/{name}/resource-tree", func(w http.ResponseWriter, r *http.Request) { answer(w, tree(r)) })
	mux.HandleFunc("GET /argo/api/v1/stream/applications/{name}/resource-tree", func(w http.ResponseWriter, r *http.Request) {
		watcher, err := b.client.CoreV1().Pods(b.namespace).Watch(r.Context(), metav1.ListOptions{})
		if err != nil {
			return
		}
		defer watcher.Stop()
		for range watcher.ResultChan() {
			answer(w, map[string]any{"result": tree(r)})
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("GET /argo/api/v1/applications/{name}/resource", func(w http.ResponseWriter, r *http.Request) {
		gvk := schema.GroupVersionKind{Group: r.FormValue("group"), Version: r.FormValue("version"), Kind: r.FormValue("kind")}
		o, err := b.of(gvk).Get(r.Context(), r.FormValue("resourceName"), metav1.GetOptions{})
		if err != nil {
			http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
			return
		}
		manifest, err := json.Marshal(o.Object)
		assert.NoError(t, err)
		answer(w, map[string]any{"manifest": string(manifest)})
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+gittest.Token {
			http.Error(w, `{"message":"invalid session"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestWaitThroughArgoCDsAPI(t *testing.T) {
	t.Parallel()
	b := newTestbed(t)
	s := argoAPI(t, b)
	b.application("vote", true)
	b.deploy("vote", voteImage(1))
	b.kubelet(running)
	o := b.options()
	o.Kubeconfig, o.ArgoCDServer, o.ArgoCDToken = "/nowhere", s.URL+"/argo/", gittest.Token
	result, err := b.wait(o, 30*time.Second)
	require.NoError(t, err)
	assert.Equal(t, []Object{{"Deployment/" + b.namespace + "/vote", true, "2 of 2 pods run " + gittest.Digest(1)}}, result.Objects)

	o.Name, o.ArgoCDServer = "vote", "http://argocd.invalid/argo"
	o.Network, err = dial.To(s.Listener.Addr().String())
	require.NoError(t, err)
	_, err = b.wait(o, 30*time.Second)
	require.NoError(t, err)
	o.Name = "other"
	_, err = b.wait(o, 30*time.Second)
	require.ErrorContains(t, err, "there is no such Application")
	o.ArgoCDToken = "wrong"
	_, err = b.wait(o, 30*time.Second)
	require.ErrorContains(t, err, "refuses the token")
	assert.NotContains(t, err.Error(), "wrong")
	o.ArgoCDToken = ""
	_, err = b.wait(o, 30*time.Second)
	require.ErrorContains(t, err, "needs a token")
}
