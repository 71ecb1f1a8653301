package e2e

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func admin(t *testing.T) kubernetes.Interface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", local.Kubeconfig)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// deployer prepares a namespace as the README tells an administrator to, and returns the kubeconfig of a user who has only
// the rights of manifests/rbac/deployer.yaml.
func deployer(t *testing.T, namespace string) (kubeconfig string) {
	t.Helper()
	client := admin(t)
	_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	kubectl := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(aksflow), "kubectl"),
		"--kubeconfig", local.Kubeconfig, "apply", "-n", namespace, "-f", "../../manifests/rbac/deployer.yaml")
	out, err := kubectl.CombinedOutput()
	require.NoError(t, err, string(out))
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "deployer", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	config, err := clientcmd.LoadFromFile(local.Kubeconfig)
	require.NoError(t, err)
	for name := range config.AuthInfos {
		config.AuthInfos[name].ClientCertificateData, config.AuthInfos[name].ClientKeyData = nil, nil
		config.AuthInfos[name].Token = token.Status.Token
	}
	kubeconfig = filepath.Join(t.TempDir(), "deployer")
	require.NoError(t, clientcmd.WriteToFile(*config, kubeconfig))
	return kubeconfig
}

// Each strategy releases the sample app while requests arrive, and no request fails.
func TestReleaseUnderLoad(t *testing.T) {
	w := newWorktree(t)
	w.succeed(&struct{}{}, "up", "--free-ports", "kubernetes")
	as := deployer(t, "vote-local")
	var first delivery
	w.succeed(&first, "deliver", "--env", "local", "--kubeconfig", as)
	for _, strategy := range [][]string{
		{"rolling"},
		{"canary", "--percent", "20,50", "--pause", "1s"},
		{"blue-green", "--pause", "1s"},
	} {
		t.Run(strategy[0], func(t *testing.T) {
			w := &worktree{t, w.dir}
			w.write("app/vote/changed.py", "# "+strategy[0]+"\n")
			w.commit("Change the app")
			stop := visitors(t, "local")
			var released delivery
			r := w.succeed(&released, append([]string{"deliver", "--env", "local", "--kubeconfig", as, "--strategy"}, strategy...)...)
			assert.NotEqual(t, first.Image, released.Image)
			assertRuns(t, "vote-local", released.Image)
			answers, failed := stop()
			assert.Empty(t, failed)
			assert.Greater(t, answers, 100)
			assert.NotContains(t, r.stderr, "may not")
			t.Logf("%s: %.1f s, %d requests, %d failed", strategy[0], r.took.Seconds(), answers, len(failed))
		})
	}
}

// visitors request the app's page until stop is called, which returns the number of responses and the wrong ones.
func visitors(t *testing.T, environment string) (stop func() (int, []string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var mu sync.Mutex
	answers, failed := 0, []string{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(local.Apps)+"/", nil)
				if err != nil {
					panic(err)
				}
				req.Host = "vote.vote-" + environment + ".localhost"
				resp, err := client.Do(req)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				answers++
				switch {
				case err != nil:
					failed = append(failed, err.Error())
				case resp.StatusCode != http.StatusOK:
					failed = append(failed, resp.Status)
				}
				mu.Unlock()
				if err == nil {
					_ = resp.Body.Close()
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return func() (int, []string) {
		cancel()
		all.Wait()
		return answers, failed
	}
}

const good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n"

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
`

// What the cluster would refuse ends with one clear message, and nothing is applied.
func TestDeployRefuses(t *testing.T) {
	w := newWorktree(t)
	as := deployer(t, "refuses")
	deploy := func(w *worktree, yaml string, more ...string) ran {
		w.write("m/all.yaml", yaml)
		return w.aksflow(append([]string{"deploy", "--app", "app", "--namespace", "refuses", "--manifests", "m", "--kubeconfig", as}, more...)...)
	}
	r := deploy(w, web)
	require.Zero(t, r.code, r.stderr)

	plugin := filepath.Join(t.TempDir(), "plugin")
	config, err := clientcmd.LoadFromFile(as)
	require.NoError(t, err)
	for name := range config.AuthInfos {
		config.AuthInfos[name].Token = ""
		config.AuthInfos[name].Exec = &clientcmdapi.ExecConfig{
			Command: "kubelogin-that-is-not-installed", APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		}
	}
	require.NoError(t, clientcmd.WriteToFile(*config, plugin))

	changed := strings.ReplaceAll(web, "app: web", "app: other")
	for name, test := range map[string]struct {
		yaml string
		args []string
		code int
		says string
	}{
		"unknown kind":          {"apiVersion: example.com/v1\nkind: Sprocket\nmetadata: {name: x}\n", nil, 2, "Sprocket/x: the cluster knows no Sprocket in example.com/v1: correct apiVersion and kind, or install the CustomResourceDefinition first"},
		"another namespace":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: elsewhere}\n", nil, 2, "ConfigMap/x is for the namespace elsewhere, and this deploys to refuses"},
		"a field that is fixed": {changed, nil, 1, "Deployment/web: spec.selector cannot be changed on an object that exists: give it a new name, or delete and create it again with --recreate"},
		"too large":             {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: " + strings.Repeat("x", 1_600_000) + "}\n", nil, 2, "ConfigMap/x is too large for the API server"},
		"no permission":         {"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: x}\nspec: {hard: {pods: 9}}\n", nil, 1, `system:serviceaccount:refuses:deployer may not get resourcequotas of the core group in the namespace refuses: add to its Role: - {apiGroups: [""], resources: ["resourcequotas"], verbs: ["get"]}`},
		"no credential plugin":  {"", []string{"--kubeconfig", plugin}, 2, "the kubeconfig's credential plugin kubelogin-that-is-not-installed is not installed: put it on PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorktree(t)
			r := deploy(w, good+test.yaml, test.args...)
			assert.Equal(t, test.code, r.code)
			assert.Contains(t, r.stderr, test.says)
			_, message, _ := strings.Cut(r.stderr, "aksflow: ")
			assert.NotContains(t, strings.TrimSpace(message), "\n", "one line")
			_, err := admin(t).CoreV1().ConfigMaps("refuses").Get(t.Context(), "good", metav1.GetOptions{})
			assert.True(t, apierrors.IsNotFound(err), "nothing is applied: %v", err)
		})
	}

	r = deploy(w, changed, "--recreate")
	require.Zero(t, r.code, r.stderr)
	now, err := admin(t).AppsV1().Deployments("refuses").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "other", now.Spec.Selector.MatchLabels["app"])
}

const sleeper = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: VALUE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: IMAGE
        command: [sleep, infinity]
        readinessProbe: {exec: {command: [test, -e, VALUE]}, failureThreshold: 1000}
`

// Ctrl-C during a rollout restores the objects from before.
func TestInterrupt(t *testing.T) {
	w := newWorktree(t)
	as := deployer(t, "interrupted")
	args := []string{"deploy", "--app", "app", "--namespace", "interrupted", "--manifests", "m", "--kubeconfig", as}
	write := func(value string) {
		w.write("m/all.yaml", strings.NewReplacer("VALUE", value, "IMAGE", local.Registry+"/library/debian:trixie-slim").Replace(sleeper))
	}
	write("/etc/hostname")
	r := w.aksflow(args...)
	require.Zero(t, r.code, r.stderr)
	before, err := admin(t).AppsV1().Deployments("interrupted").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)

	write("/nowhere")
	cmd := command(t.Context(), args...)
	cmd.Dir = w.dir
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	for interrupted := false; lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !interrupted && strings.Contains(lines.Text(), "Readiness probe failed") {
			interrupted = true
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		}
	}
	err = cmd.Wait()
	assert.Equal(t, 130, cmd.ProcessState.ExitCode(), "%v\n%s", err, said.String())
	assert.Contains(t, said.String(), "putting back what was there before")
	settings, err := admin(t).CoreV1().ConfigMaps("interrupted").Get(t.Context(), "settings", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "/etc/hostname", settings.Data["a"])
	now, err := admin(t).AppsV1().Deployments("interrupted").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, before.Spec, now.Spec)
	assert.EqualValues(t, 1, now.Status.ReadyReplicas)
}
