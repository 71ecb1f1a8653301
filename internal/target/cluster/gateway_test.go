package cluster_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// These tests want a Gateway too: Traefik, with its defaults. It gathers what changes for two seconds before its proxy
// follows, which makes it a harder case than one that follows at once.

// traefikManifests are a Traefik that serves the Gateway API, and one Gateway. All of it stays for the next run.
const traefikManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: gateway}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: traefik}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: traefik-gateway}
rules:
- {apiGroups: [""], resources: [namespaces, services, secrets, configmaps], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: ["*"], verbs: [get, list, watch]}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status, gateways/status, httproutes/status, grpcroutes/status, backendtlspolicies/status]
  verbs: [update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: traefik-gateway}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: traefik-gateway}
subjects: [{kind: ServiceAccount, name: traefik, namespace: gateway}]
---
apiVersion: v1
kind: Service
metadata: {name: traefik}
spec:
  selector: {app: traefik}
  ports: [{port: 80, targetPort: 8000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: traefik}
spec:
  selector: {matchLabels: {app: traefik}}
  template:
    metadata: {labels: {app: traefik}}
    spec:
      serviceAccountName: traefik
      containers:
      - name: traefik
        image: IMAGE
        args:
        - --entryPoints.web.address=:8000
        - --entryPoints.traefik.address=:8080
        - --ping
        - --providers.kubernetesGateway
        - --global.checkNewVersion=false
        - --global.sendAnonymousUsage=false
        startupProbe: {httpGet: {path: /ping, port: 8080}, periodSeconds: 1, failureThreshold: 60}
        readinessProbe: {httpGet: {path: /ping, port: 8080}, periodSeconds: 1}
        resources: {requests: {cpu: 10m}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway}
spec:
  gatewayClassName: traefik
  listeners: [{name: web, protocol: HTTP, port: 8000, allowedRoutes: {namespaces: {from: All}}}]
`

const routeManifest = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gateway, namespace: gateway}]
  rules:
  - matches: [{path: {value: /NAMESPACE}}]
    backendRefs: [{name: web, port: 80}]
`

var routes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// behindGateway is a cluster with a Gateway.
type behindGateway struct {
	realCluster
	dynamic dynamic.Interface
}

func withGateway(t *testing.T) behindGateway {
	t.Helper()
	c := onCluster(t)
	bin := os.Getenv("AKSFLOW_BIN")
	program := filepath.Join(bin, "traefik")
	if _, err := os.Stat(program); bin == "" || err != nil {
		t.Skip("set AKSFLOW_BIN to the directory of Traefik, which make test builds, to test with a Gateway")
	}
	definitions, err := filepath.Glob(filepath.Join(bin, "gateway-crds", "*.yaml"))
	require.NoError(t, err)
	var objects []*unstructured.Unstructured
	for _, file := range definitions {
		decoded, err := render.Render(t.Context(), file, render.Options{})
		require.NoError(t, err)
		objects = append(objects, decoded...)
	}
	err = applyAndAwait(progress(t, time.Now()), c.Cluster, "default", objects)
	require.NoError(t, err)
	err = applyAndAwait(progress(t, time.Now()), c.Cluster, "gateway", manifests(t, strings.ReplaceAll(traefikManifests, "IMAGE", traefikImage(t, program)), "gateway"))
	require.NoError(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	require.NoError(t, err)
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	return behindGateway{c, client}
}

// traefikImage puts the program alone into an image, unless the registry has it.
func traefikImage(t *testing.T, program string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	require.NoError(t, err)
	ref, err := name.NewTag(fmt.Sprintf("%s/traefik:%.12x", os.Getenv("AKSFLOW_TEST_REGISTRY"), sha256.Sum256(data)))
	require.NoError(t, err)
	if _, err := remote.Head(ref); err == nil {
		return ref.Name()
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "traefik", Mode: 0o755, Size: int64(len(data))}))
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	require.NoError(t, err)
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{Entrypoint: []string{"/traefik"}},
	})
	require.NoError(t, err)
	image, err = mutate.AppendLayers(image, layer)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image))
	return ref.Name()
}

// release is the app with its route. Its pods serve on for as long as Traefik may take to leave them out, as rolling
// updates behind it want.
func (c behindGateway) release(t *testing.T, namespace, version string, changes ...string) cluster.Release {
	t.Helper()
	changes = append(changes, `[sleep, "3"]`, `[sleep, "6"]`, "terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: 10")
	r := c.realCluster.release(t, namespace, version, changes...)
	r.Objects = append(r.Objects, manifests(t, routeManifest, namespace)...)
	return r
}

// busy changes another route of the Gateway all the time, as happens on one that a cluster shares: Traefik's proxy then
// follows every change late.
func (c behindGateway) busy(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			patch := fmt.Sprintf(`{"apiVersion": %q, "kind": "HTTPRoute", "metadata": {"name": "busy"}, "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"matches": [{"path": {"value": "/busy-%d"}}]}]}}`, routes.GroupVersion(), i)
			_, err := c.dynamic.Resource(routes).Namespace("gateway").Patch(ctx, "busy", types.ApplyPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "test"})
			if ctx.Err() == nil {
				assert.NoError(t, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
}

// route is the spec of the HTTPRoute, as JSON.
func (c behindGateway) route(t *testing.T, namespace string) string {
	t.Helper()
	route, err := c.dynamic.Resource(routes).Namespace(namespace).Get(context.Background(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	spec, err := json.MarshalIndent(route.Object["spec"], "", "  ")
	require.NoError(t, err)
	return string(spec)
}

// votes counts who answered.
type votes struct {
	mu    sync.Mutex
	count map[string]int
}

func (v *votes) note(body string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.count == nil {
		v.count = map[string]int{}
	}
	v.count[body]++
}

// take returns how many answers there were since the last call, and the percentage of those of version.
func (v *votes) take(version string) (all int, percent float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.count {
		all += n
	}
	percent = 100 * float64(v.count[version]) / float64(max(1, all))
	v.count = nil
	return all, percent
}

// share is the percentage of the requests that one version answered.
type share struct{ percent, delta float64 }

const (
	// throttle is Traefik's providersThrottleDuration: how often at most its proxy takes up changes.
	throttle = 2 * time.Second
	// lag is how long after its status the Gateway's proxy may follow: as long as a deploy waits for it.
	lag = 5 * time.Second
)

// shareOf says how far percent may be off. With each change that it takes up, Traefik begins its round by weights anew,
// with the version that has the most, which can cost the other one a request each time. So can the rounds in which the
// measure begins and ends.
func shareOf(percent float64, all int) share {
	restarts := float64(lag/throttle) + 2
	return share{percent, 2 + 100*restarts/float64(max(1, all))}
}

func TestOnClusterGateway(t *testing.T) {
	t.Parallel()
	c := withGateway(t)
	c.busy(t)
	// A pod that ends at once fails the requests that a Gateway still sends to it.
	abrupt := []string{"        lifecycle: {preStop: {exec: {command: [sleep, \"3\"]}}}\n", ""}
	for _, test := range []struct {
		name    string
		changes []string
		smoke   []cluster.Smoke
		fails   string
		decide  func(*cluster.Cluster, context.Context, cluster.App) (*cluster.Result, error)
		shares  []float64 // measured
		serves  string    // in the end
	}{
		{name: "finished", shares: []float64{20, 50}, serves: "two"},
		{name: "resumed", decide: (*cluster.Cluster).Resume, shares: []float64{20, 50}, serves: "two"},
		{name: "aborted", changes: abrupt, decide: (*cluster.Cluster).Abort, shares: []float64{20}, serves: "one"},
		{name: "crashes", changes: []string{"- perl\n", "- sh\n        - -c\n        - exit 3\n        - perl\n"}, fails: "it ended with exit code 3", serves: "one"},
		{
			name: "fails-late", changes: append(abrupt, `"STATUS" : "200 OK"`, `"200 OK" : $line =~ m{/late} && $late++ ? "500 Late" : "200 OK"`),
			smoke: []cluster.Smoke{{Path: "/late"}}, fails: "the smoke test failed", shares: []float64{20}, serves: "one",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			namespace := "gateway-" + test.name
			c.drop(t, namespace)
			newNamespace(t, testCluster{c.kubeconfig, c.client}, namespace)
			deployer := asDeployer(t, testCluster{c.kubeconfig, c.client}, namespace, "")
			_, err := deployer.Deploy(progress(t, time.Now()), c.release(t, namespace, "one"))
			require.NoError(t, err)
			before := c.route(t, namespace)
			ask := func() string {
				_, body, err := c.Kube().ServiceProxy(context.Background(), "gateway", "traefik", "80", http.MethodGet, "/"+namespace, nil)
				return fmt.Sprint(string(body), err)
			}
			require.Eventually(t, func() bool { return ask() == "one<nil>" }, waitFor, tick)

			var seen votes
			stop := c.loadOn(t, "gateway", "traefik", "/"+namespace, seen.note)
			began := time.Now()
			ctx := progress(t, began)
			// What counts are the answers from some time after a stage began until its pause is over.
			shares := make(chan share, 2)
			measure := func() {
				time.AfterFunc(lag, func() { seen.take("") })
				time.AfterFunc(2*lag-tick, func() {
					all, percent := seen.take("two")
					t.Logf("%6.2f %.1f%% of %d requests", time.Since(began).Seconds(), percent, all)
					assert.Greater(t, all, 25)
					shares <- shareOf(percent, all)
				})
			}
			r := c.release(t, namespace, "two", test.changes...)
			r.Strategy = cluster.Strategy{Kind: cluster.Canary, Percent: []int{20, 50}, Pause: 2 * lag, Smoke: test.smoke, Hold: test.decide != nil}
			ctx = report.With(ctx, report.SinkFunc(func(e report.Event) {
				t.Logf("%6.2f %s %s", time.Since(began).Seconds(), e.Object, e.Message)
				if strings.HasPrefix(e.Message, "watching for") {
					measure()
				}
			}))
			result, err := deployer.Deploy(ctx, r)
			if test.decide != nil {
				require.NoError(t, err)
				require.True(t, result.Held)
				measure()
				require.Eventually(t, func() bool { return len(shares) == 1 }, waitFor, tick)
				_, err = test.decide(deployer, ctx, cluster.App{Name: "web", Namespace: namespace})
			}
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
			} else {
				require.NoError(t, err)
			}
			took := time.Since(began)
			require.Eventually(t, func() bool {
				pods, err := c.client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{})
				return err == nil && len(pods.Items) == 2
			}, waitFor, tick)
			all, failed := stop()
			t.Logf("%s: %.1f s, %d requests, %d failed", test.name, took.Seconds(), all, len(failed))
			assert.Empty(t, failed)
			require.Len(t, shares, len(test.shares))
			for _, want := range test.shares {
				seen := <-shares
				assert.InDelta(t, want, seen.percent, seen.delta)
			}
			assert.Equal(t, before, c.route(t, namespace))
			assert.Equal(t, test.serves+"<nil>", ask())
		})
	}
}

func TestOnClusterGatewayRefuses(t *testing.T) {
	c := withGateway(t)
	c.drop(t, "gateway-refuses")
	r := c.release(t, "gateway-refuses", "one")
	_, err := c.Deploy(progress(t, time.Now()), r)
	require.NoError(t, err)
	before := c.route(t, "gateway-refuses")

	r.Objects = append(r.Objects[:len(r.Objects)-1], manifests(t, strings.Replace(routeManifest, "name: web, port", "name: nowhere, port", 1), "gateway-refuses")...)
	r.Grace = 2 * time.Second
	result, err := c.Deploy(progress(t, time.Now()), r)
	require.ErrorContains(t, err, "HTTPRoute/web: Gateway gateway/gateway refuses it: BackendNotFound")
	assert.True(t, result.RolledBack)
	assert.Equal(t, before, c.route(t, "gateway-refuses"))
}

func TestRouteThatNoGatewayTakes(t *testing.T) {
	t.Parallel()
	c := connect(t)
	ctx, log := events(t)
	err := applyAndAwait(ctx, c, "default", manifests(t, gateway, "default"))
	require.NoError(t, err)
	r := vote(t, "no-gateway", "v1")
	r.Objects = append(r.Objects, manifests(t, routeManifest, "no-gateway")...)
	r.Grace = 500 * time.Millisecond
	_, err = c.Deploy(ctx, r)
	require.NoError(t, err, log)
	assert.Contains(t, log.String(), "HTTPRoute/web no Gateway has taken it: nothing answers for Gateway gateway/gateway")
}
