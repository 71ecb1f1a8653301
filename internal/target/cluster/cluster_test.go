package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// These tests want a cluster whose pods run, and a registry that its nodes pull from with library/debian:trixie-slim in
// it: the local platform has both.
//
//	aksflow up registry kubernetes
//	AKSFLOW_TEST_KUBECONFIG=… AKSFLOW_TEST_REGISTRY=localhost:5000 go test ./internal/target/cluster -run OnCluster -v

type realCluster struct {
	*cluster.Cluster
	kubeconfig, image string
	client            kubernetes.Interface
}

func onCluster(t *testing.T) realCluster {
	t.Helper()
	kubeconfig, registry := os.Getenv("AKSFLOW_TEST_KUBECONFIG"), os.Getenv("AKSFLOW_TEST_REGISTRY")
	if kubeconfig == "" || registry == "" {
		t.Skip("set AKSFLOW_TEST_KUBECONFIG and AKSFLOW_TEST_REGISTRY to test against a cluster whose pods run")
	}
	ref, err := name.ParseReference(registry + "/library/debian:trixie-slim")
	require.NoError(t, err)
	descriptor, err := remote.Head(ref)
	require.NoError(t, err)
	c, err := cluster.Connect(context.Background(), kube.Options{Kubeconfig: kubeconfig})
	require.NoError(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return realCluster{c, kubeconfig, registry + "/library/debian@" + descriptor.Digest.String(), client}
}

// webManifests is an app whose pods answer with VERSION, and STATUS to a readiness probe. A pod that is being ended
// serves on until nobody sends it requests any more.
const webManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: IMAGE
        command:
        - perl
        - -MIO::Socket::INET
        - -e
        - |
          $SIG{TERM} = sub { exit 0 };
          my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 128, ReuseAddr => 1) or die;
          while (my $c = $s->accept) {
            my $line = <$c>;
            while (<$c>) { last if /^\r?$/ }
            my $status = $line =~ m{/ready} ? "STATUS" : "200 OK";
            print $c "HTTP/1.1 $status\r\nContent-Length: ", length("VERSION"), "\r\nConnection: close\r\n\r\nVERSION";
            close $c;
          }
        lifecycle: {preStop: {exec: {command: [sleep, "3"]}}}
        startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 3}
        resources: {requests: {cpu: 10m}}
`

func (c realCluster) release(t *testing.T, namespace, version string, changes ...string) cluster.Release {
	t.Helper()
	yaml := strings.NewReplacer(append(changes, "IMAGE", c.image, "VERSION", version, "STATUS", "200 OK")...).Replace(webManifests)
	return cluster.Release{App: "web", Namespace: namespace, Objects: manifests(t, yaml, namespace), User: "tester"}
}

// drop deletes a namespace and does not wait.
func (c realCluster) drop(t *testing.T, namespace string) {
	t.Cleanup(func() {
		_ = c.client.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	})
}

// load asks the Service web for / all the time until stop is called, which returns how many answers there were and every
// one that was not 200.
func (c realCluster) load(t *testing.T, namespace string) (stop func() (int64, []string)) {
	t.Helper()
	return c.loadOn(t, namespace, "web", "/", func(string) {})
}

// loadOn is load on any Service, and hands every answer to note.
func (c realCluster) loadOn(t *testing.T, namespace, service, path string, note func(body string)) (stop func() (int64, []string)) {
	t.Helper()
	return load(func(ctx context.Context) (int, []byte, error) {
		return c.Kube().ServiceProxy(ctx, namespace, service, "80", http.MethodGet, path, nil)
	}, note)
}

// loadApart is load past the API server, by the local platform's port for apps.
func (c realCluster) loadApart(t *testing.T, namespace string) (stop func() (int64, []string)) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := fmt.Sprintf("http://127.0.0.1:%d/", c.platform(t).Apps)
	ask := func(ctx context.Context) (int, []byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, nil, err
		}
		request.Host = "web." + namespace + ".localhost"
		answer, err := client.Do(request)
		if err != nil {
			return 0, nil, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, body, err
	}
	require.Eventually(t, func() bool {
		status, _, err := ask(context.Background())
		return err == nil && status == http.StatusOK
	}, waitFor, tick)
	return load(ask, func(string) {})
}

func load(ask func(context.Context) (int, []byte, error), note func(body string)) (stop func() (int64, []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var answers atomic.Int64
	var mu sync.Mutex
	var failed []string
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				status, body, err := ask(ctx)
				if ctx.Err() != nil {
					return
				}
				answers.Add(1)
				note(string(body))
				if err != nil || status != http.StatusOK {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("%d %s %v", status, body, err))
					mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	return func() (int64, []string) {
		cancel()
		workers.Wait()
		return answers.Load(), failed
	}
}

// platform is what the local platform says of itself. Another cluster has none.
func (c realCluster) platform(t *testing.T) (info struct{ Apps int }) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(c.kubeconfig), "info.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this wants the local platform's cluster")
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &info))
	return info
}

// apiServer is the process of the local platform's API server, or 0 when it does not run.
func (c realCluster) apiServer(t *testing.T) (pid int) {
	t.Helper()
	state := filepath.Dir(c.kubeconfig)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err == nil && strings.Contains(string(text), "\x00kube-apiserver\x00") && strings.Contains(string(text), state+"/") {
			pid, err = strconv.Atoi(filepath.Base(filepath.Dir(line)))
			require.NoError(t, err)
		}
	}
	return pid
}

// objects is what users see as the state of a namespace: of every object in it all but the status, the metadata that the
// server keeps, and the records of deploys. What controllers make is left out.
func (c realCluster) objects(t *testing.T, namespace string) map[string]any {
	t.Helper()
	ctx := context.Background()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	lists, err := c.client.Discovery().ServerPreferredNamespacedResources()
	require.NoError(t, err)
	state := map[string]any{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		require.NoError(t, err)
		for _, resource := range list.APIResources {
			switch resource.Name {
			case "pods", "replicasets", "events", "endpoints", "endpointslices", "leases", "controllerrevisions":
				continue
			}
			if !slices.Contains(resource.Verbs, "list") {
				continue
			}
			found, err := client.Resource(group.WithResource(resource.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{})
			require.NoError(t, err, resource.Name)
			for _, o := range found.Items {
				if strings.HasPrefix(o.GetName(), "aksflow-") {
					continue
				}
				kept := map[string]any{"labels": o.GetLabels(), "annotations": o.GetAnnotations()}
				for field, value := range o.Object {
					if field != "metadata" && field != "status" {
						kept[field] = value
					}
				}
				state[o.GetKind()+"/"+o.GetName()] = kept
			}
		}
	}
	return state
}

func progress(t *testing.T, began time.Time) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return report.With(ctx, report.SinkFunc(func(e report.Event) {
		t.Logf("%6.2f %s %s", time.Since(began).Seconds(), e.Object, e.Message)
	}))
}

// The table that it prints means something only when nothing else runs: with -parallel 1.
func TestOnClusterTimeToRed(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	kubectl := ""
	if bin := os.Getenv("AKSFLOW_BIN"); bin != "" {
		kubectl = filepath.Join(bin, "kubectl")
	}
	scenarios := []struct {
		name, says string
		changes    []string
	}{
		{"image-missing", "does not exist in its registry", []string{"IMAGE", c.image[:strings.Index(c.image, "@")] + "@sha256:" + strings.Repeat("0", 64)}},
		{"crash", "it ended with exit code 3", []string{"- perl\n", "- sh\n        - -c\n        - echo cannot open the database >&2; exit 3\n        - perl\n"}},
		{"secret-missing", `Secret "nowhere" is missing`, []string{"        lifecycle:", "        envFrom: [{secretRef: {name: nowhere}}]\n        lifecycle:"}},
		{"secret-volume-missing", `Secret "nowhere" is missing`, []string{"      containers:\n", "      volumes: [{name: s, secret: {secretName: nowhere}}]\n      containers:\n", "        lifecycle:", "        volumeMounts: [{name: s, mountPath: /s}]\n        lifecycle:"}},
		{"unschedulable", "no node takes the pod", []string{"cpu: 10m", "cpu: 1000"}},
		{"not-ready", "Readiness probe failed", []string{"STATUS", "503 Not Yet"}},
		{"quota", "quota allows no further pod", nil},
		{"registry-refuses", "the registry refuses the image", nil},
	}
	rows := make([]string, len(scenarios))
	t.Cleanup(func() {
		t.Logf("\n%-24s %12s   %s\n%s", "what is wrong", "time to red", "kubectl rollout status", strings.Join(rows, ""))
	})
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			namespace := "red-" + s.name
			c.drop(t, namespace)
			first := c.release(t, namespace, "one")
			_, err := c.Deploy(progress(t, time.Now()), first)
			require.NoError(t, err)
			switch s.name {
			case "quota":
				c.kubectl(t, kubectl, "create", "quota", "pods", "--hard=pods=2", "-n", namespace)
			case "registry-refuses":
				s.changes = []string{"IMAGE", c.refusingRegistry(t, namespace) + "/vote@sha256:" + strings.Repeat("0", 64)}
			}

			before := c.objects(t, namespace)
			require.Contains(t, before, "Deployment/web")
			require.Contains(t, before, "Service/web")
			stop := c.load(t, namespace)
			bad := c.release(t, namespace, "two", s.changes...)
			status := c.kubectlStatus(kubectl, namespace)
			began := time.Now()
			result, err := c.Deploy(progress(t, began), bad)
			took := time.Since(began)
			answers, failed := stop()
			require.ErrorContains(t, err, s.says)
			t.Logf("after %.1f s: %v", took.Seconds(), err)
			assert.True(t, result.RolledBack)
			assert.Empty(t, failed, "requests failed, of %d", answers)
			assert.Greater(t, answers, int64(10))
			assert.Eventually(t, func() bool { return assert.ObjectsAreEqual(before, c.objects(t, namespace)) }, waitFor, tick)
			rows[i] = fmt.Sprintf("%-24s %10.1f s   %s\n", s.name, took.Seconds(), status(bad, c))
		})
	}
}

func (c realCluster) kubectl(t *testing.T, kubectl string, args ...string) {
	t.Helper()
	if kubectl == "" {
		t.Skip("set AKSFLOW_BIN to the directory of kubectl")
	}
	out, err := exec.CommandContext(context.Background(), kubectl, append([]string{"--kubeconfig", c.kubeconfig}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// kubectlStatus returns a function that applies the same objects with kubectl and waits with it for ten seconds. It is
// called after the deploy, since the two would be in each other's way.
func (c realCluster) kubectlStatus(kubectl, namespace string) func(cluster.Release, realCluster) string {
	return func(r cluster.Release, c realCluster) string {
		if kubectl == "" {
			return "no kubectl"
		}
		var stdin bytes.Buffer
		for _, o := range r.Objects {
			data, err := o.MarshalJSON()
			if err != nil {
				return err.Error()
			}
			stdin.Write(data)
			stdin.WriteByte('\n')
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		apply := exec.CommandContext(ctx, kubectl, "--kubeconfig", c.kubeconfig, "apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-")
		apply.Stdin = &stdin
		if out, err := apply.CombinedOutput(); err != nil {
			return string(out)
		}
		began := time.Now()
		out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", c.kubeconfig, "rollout", "status", "deployment/web", "-n", namespace, "--timeout=10s").CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return err.Error()
		}
		return fmt.Sprintf("%.1f s: %s", time.Since(began).Seconds(), lines[len(lines)-1])
	}
}

// refusingRegistry runs something that answers 401 on a port of the node, and returns its address as the node sees it.
func (c realCluster) refusingRegistry(t *testing.T, namespace string) string {
	t.Helper()
	yaml := strings.NewReplacer("IMAGE", c.image, "VERSION", "denied", "8080", "18401", `$line =~ m{/ready} ? "STATUS" : "200 OK"`, `"401 Unauthorized"`,
		"name: NAMESPACE", "name: NAMESPACE-registry", "replicas: 2", "replicas: 1", "    spec:\n      term", "    spec:\n      hostNetwork: true\n      term",
		"        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 3}\n", "        readinessProbe: {tcpSocket: {port: 18401}, periodSeconds: 1}\n").Replace(webManifests)
	c.drop(t, namespace+"-registry")
	_, err := c.Deploy(progress(t, time.Now()), cluster.Release{App: "registry", Namespace: namespace + "-registry", Objects: manifests(t, yaml, namespace)})
	require.NoError(t, err)
	return "localhost:18401"
}

func TestOnClusterNetworkCut(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	require.NoError(t, err)
	u, err := url.Parse(config.Host)
	require.NoError(t, err)
	for name, changes := range map[string][]string{
		"finishes": nil,
		"restores": {"- perl\n", "- sh\n        - -c\n        - exit 3\n        - perl\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := "cut-" + name
			c.drop(t, namespace)
			_, err := c.Deploy(progress(t, time.Now()), c.release(t, namespace, "one"))
			require.NoError(t, err)
			network := &cuttable{target: u.Host, open: map[net.Conn]bool{}}
			through, err := cluster.Connect(context.Background(), kube.Options{Kubeconfig: c.kubeconfig, Network: dial.Network{Dialer: network.dial}})
			require.NoError(t, err)
			stop := c.load(t, namespace)
			time.AfterFunc(500*time.Millisecond, func() { network.set(true) })
			time.AfterFunc(20500*time.Millisecond, func() { network.set(false) })
			began := time.Now()
			result, err := through.Deploy(progress(t, began), c.release(t, namespace, "two", changes...))
			took := time.Since(began)
			answers, failed := stop()
			t.Logf("%s: %.1f s, %d requests, %d failed: %v", name, took.Seconds(), answers, len(failed), err)
			assert.Empty(t, failed)
			assert.Greater(t, took, 20*time.Second)
			if changes == nil {
				require.NoError(t, err)
				assert.Equal(t, 2, result.Revision)
			} else {
				require.ErrorContains(t, err, "it ended with exit code 3")
				assert.True(t, result.RolledBack)
			}
		})
	}
}

// The API server is killed in mid-deploy, and whoever keeps the control plane starts it again. It serves the other tests
// too, so this one is not parallel.
func TestOnClusterAPIServerKilled(t *testing.T) {
	c := onCluster(t)
	for name, changes := range map[string][]string{
		"finishes": nil,
		"restores": {"- perl\n", "- sh\n        - -c\n        - exit 3\n        - perl\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c.platform(t)
			server := c.apiServer(t)
			require.NotZero(t, server)
			namespace := "killed-" + name
			c.drop(t, namespace)
			_, err := c.Deploy(progress(t, time.Now()), c.release(t, namespace, "one"))
			require.NoError(t, err)
			before := c.objects(t, namespace)
			stop := c.loadApart(t, namespace)
			began := time.Now()
			var once sync.Once
			ctx := report.With(progress(t, began), report.SinkFunc(func(e report.Event) {
				t.Logf("%6.2f %s %s", time.Since(began).Seconds(), e.Object, e.Message)
				if e.Object == "Deployment/web" && e.Message == cluster.Configured {
					once.Do(func() { assert.NoError(t, syscall.Kill(server, syscall.SIGKILL)) })
				}
			}))
			result, err := c.Deploy(ctx, c.release(t, namespace, "two", changes...))
			took := time.Since(began)
			answers, failed := stop()
			t.Logf("%s: %.1f s, %d requests, %d failed: %v", name, took.Seconds(), answers, len(failed), err)
			assert.Empty(t, failed)
			assert.NotEqual(t, server, c.apiServer(t), "another one serves")
			if changes == nil {
				require.NoError(t, err)
				assert.Equal(t, 2, result.Revision)
				return
			}
			require.ErrorContains(t, err, "it ended with exit code 3")
			assert.True(t, result.RolledBack)
			assert.Eventually(t, func() bool { return assert.ObjectsAreEqual(before, c.objects(t, namespace)) }, waitFor, tick)
		})
	}
}

func TestOnClusterNoRequestFails(t *testing.T) {
	t.Parallel()
	c := onCluster(t)
	for _, s := range []cluster.Strategy{
		{Kind: cluster.Rolling},
		{Kind: cluster.Canary, Percent: []int{33, 50}, Pause: time.Second, Smoke: []cluster.Smoke{{Body: "two"}}},
		{Kind: cluster.BlueGreen, Pause: time.Second, Smoke: []cluster.Smoke{{Body: "two"}}},
	} {
		t.Run(string(s.Kind), func(t *testing.T) {
			t.Parallel()
			namespace := "load-" + string(s.Kind)
			c.drop(t, namespace)
			newNamespace(t, testCluster{c.kubeconfig, c.client}, namespace)
			deployer := asDeployer(t, testCluster{c.kubeconfig, c.client}, namespace, "")
			_, err := deployer.Deploy(progress(t, time.Now()), c.release(t, namespace, "one"))
			require.NoError(t, err)
			stop := c.load(t, namespace)
			began := time.Now()
			r := c.release(t, namespace, "two")
			r.Strategy = s
			_, err = deployer.Deploy(progress(t, began), r)
			took := time.Since(began)
			c.awaitPods(t, namespace, 2) // those that were replaced have ended
			answers, failed := stop()
			require.NoError(t, err)
			assert.Empty(t, failed)
			t.Logf("%s: %.1f s, %d requests, %d failed", s.Kind, took.Seconds(), answers, len(failed))
			_, body, err := c.Kube().ServiceProxy(context.Background(), namespace, "web", "80", http.MethodGet, "/", nil)
			require.NoError(t, err)
			assert.Equal(t, "two", string(body))
		})
	}
}
