package cluster_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// The environment of the process that is killed: where it deploys, and what.
const (
	killedKubeconfig = "AKSFLOW_TEST_KILLED_KUBECONFIG"
	killedNamespace  = "AKSFLOW_TEST_KILLED_NAMESPACE"
	killedTag        = "AKSFLOW_TEST_KILLED_TAG"
	killedStrategy   = "AKSFLOW_TEST_KILLED_STRATEGY"
)

// inWaves is the app with a ConfigMap before its Deployment and another one behind it.
func inWaves(t *testing.T, namespace, tag string) cluster.Release {
	t.Helper()
	release := vote(t, namespace, tag)
	early := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: early-" + tag + ", annotations: {order.aksflow.dev/wave: '-1'}}\n---\n"
	release.Objects = append(release.Objects, manifests(t, early+strings.NewReplacer("early", "late", "-1", "1").Replace(early), namespace)...)
	return release
}

// TestDeployUntilKilled is the process that TestKilled kills.
func TestDeployUntilKilled(t *testing.T) {
	kubeconfig := os.Getenv(killedKubeconfig)
	if kubeconfig == "" {
		t.Skip("runs as a process of TestKilled")
	}
	c, err := cluster.Connect(context.Background(), kube.Options{Kubeconfig: kubeconfig})
	require.NoError(t, err)
	release := inWaves(t, os.Getenv(killedNamespace), os.Getenv(killedTag))
	if kind := os.Getenv(killedStrategy); kind != "" {
		release.Strategy = cluster.Strategy{Kind: cluster.Kind(kind), Pause: time.Hour}
	}
	_, err = c.Deploy(context.Background(), release)
	require.NoError(t, err)
}

// TestKilled kills a process in mid-deploy with SIGKILL: one wave is applied, pods of the next are waited for, and the last
// one is not applied yet. The next deploy comes while the lock is still held.
func TestKilled(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	killed := func(t *testing.T, namespace, tag string) {
		t.Helper()
		process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeployUntilKilled$")
		process.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), killedKubeconfig+"="+s.Kubeconfig, killedNamespace+"="+namespace, killedTag+"="+tag)
		require.NoError(t, process.Start())
		require.Eventually(t, func() bool {
			d, err := s.Client.AppsV1().Deployments(namespace).Get(t.Context(), "vote", metav1.GetOptions{})
			return err == nil && d.Spec.Template.Spec.Containers[0].Image == image(tag)
		}, waitFor, tick)
		require.NoError(t, process.Process.Kill())
		require.Error(t, process.Wait())
		assert.NotNil(t, get(t, c, "v1", "ConfigMap", namespace, "early-"+tag))
		assert.Nil(t, get(t, c, "v1", "ConfigMap", namespace, "late-"+tag))
	}
	records := func(t *testing.T, namespace string) (out []string) {
		t.Helper()
		history, err := c.History(t.Context(), "vote", namespace)
		require.NoError(t, err)
		for _, r := range history {
			out = append(out, string(r.Status))
		}
		return out
	}
	t.Run("finished by the next deploy", func(t *testing.T) {
		t.Parallel()
		ctx, log := events(t)
		const namespace = "killed-finished"
		_, err := c.Deploy(ctx, inWaves(t, namespace, "v1"))
		require.NoError(t, err, log)
		killed(t, namespace, "slow")
		assert.Equal(t, []string{"pending", "deployed"}, records(t, namespace))

		result, err := c.Deploy(ctx, inWaves(t, namespace, "v2"))
		require.NoError(t, err, log)
		assert.Contains(t, log.String(), "the deploy of revision 2 was killed")
		assert.Equal(t, 3, result.Revision)
		assert.Equal(t, 2, result.Killed)
		assert.Equal(t, []string{"deployed", "failed", "superseded"}, records(t, namespace))
		for _, name := range []string{"early-v1", "late-v1", "early-slow"} {
			assert.Nil(t, get(t, c, "v1", "ConfigMap", namespace, name), name)
		}
		again, err := c.Deploy(ctx, inWaves(t, namespace, "v2"))
		require.NoError(t, err, log)
		assert.False(t, again.Changed())
	})
	t.Run("undone when the next deploy fails", func(t *testing.T) {
		t.Parallel()
		ctx, log := events(t)
		const namespace = "killed-undone"
		_, err := c.Deploy(ctx, inWaves(t, namespace, "v1"))
		require.NoError(t, err, log)
		killed(t, namespace, "slow")

		result, err := c.Deploy(ctx, inWaves(t, namespace, "missing"))
		require.ErrorContains(t, err, "does not exist", log)
		assert.True(t, result.RolledBack)
		assert.Equal(t, 1, result.Revision)
		assert.Zero(t, result.Killed, "it was undone")
		assert.Equal(t, cluster.Restored, statuses(result)["Deployment/vote"])
		assert.Equal(t, cluster.Removed, statuses(result)["ConfigMap/early-missing"])
		assert.Equal(t, cluster.Removed, statuses(result)["ConfigMap/early-slow"])
		d, err := s.Client.AppsV1().Deployments(namespace).Get(ctx, "vote", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, image("v1"), d.Spec.Template.Spec.Containers[0].Image)
		assert.EqualValues(t, 3, d.Status.AvailableReplicas)
		assert.Equal(t, []string{"failed", "failed", "deployed"}, records(t, namespace))
		again, err := c.Deploy(ctx, inWaves(t, namespace, "v1"))
		require.NoError(t, err, log)
		assert.False(t, again.Changed(), "%v", again.Objects)
	})
	t.Run("in the first deploy", func(t *testing.T) {
		t.Parallel()
		ctx, log := events(t)
		const namespace = "killed-first"
		killed(t, namespace, "slow")
		short, cancel := context.WithTimeout(ctx, 40*time.Second)
		defer cancel()
		_, err := c.Deploy(short, inWaves(t, namespace, "missing"))
		require.ErrorContains(t, err, "does not exist", log)
		assert.Contains(t, log.String(), "what the killed deploy of revision 1 left is still there")
		result, err := c.Deploy(ctx, inWaves(t, namespace, "v1"))
		require.NoError(t, err, log)
		assert.Equal(t, 3, result.Revision)
		assert.Nil(t, get(t, c, "v1", "ConfigMap", namespace, "early-slow"))
	})
}

// TestSecondVersionKilled kills a canary and a blue-green release while both versions run.
func TestSecondVersionKilled(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	for kind, second := range map[cluster.Kind]string{cluster.Canary: "vote-canary", cluster.BlueGreen: "vote-next"} {
		for next, after := range map[string]string{"v3": "vote v3 3", "missing": "vote v1 3"} {
			t.Run(string(kind)+", then "+next, func(t *testing.T) {
				t.Parallel()
				ctx, log := events(t)
				namespace := "killed-" + string(kind) + "-" + next
				_, err := c.Deploy(ctx, inWaves(t, namespace, "v1"))
				require.NoError(t, err, log)
				before := service(t, s, namespace)

				process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeployUntilKilled$")
				process.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), killedKubeconfig+"="+s.Kubeconfig, killedNamespace+"="+namespace, killedTag+"=v2", killedStrategy+"="+string(kind))
				require.NoError(t, process.Start())
				require.Eventually(t, func() bool {
					d, err := s.Client.AppsV1().Deployments(namespace).Get(t.Context(), second, metav1.GetOptions{})
					return err == nil && d.Status.AvailableReplicas > 0 &&
						(kind == cluster.Canary || service(t, s, namespace) != before) // the pause has begun
				}, waitFor, tick)
				require.NoError(t, process.Process.Kill())
				require.Error(t, process.Wait())

				result, err := c.Deploy(ctx, inWaves(t, namespace, next))
				if next == "missing" {
					require.ErrorContains(t, err, "does not exist", log)
					assert.True(t, result.RolledBack)
				} else {
					require.NoError(t, err, log)
				}
				assert.Equal(t, after, deploymentNames(t, namespace))
				assert.Equal(t, before, service(t, s, namespace), "the Service selects as it did")
			})
		}
	}
}

// service returns what the app's Service selects.
func service(t *testing.T, s testCluster, namespace string) string {
	t.Helper()
	service, err := s.Client.CoreV1().Services(namespace).Get(t.Context(), "vote", metav1.GetOptions{})
	require.NoError(t, err)
	return fmt.Sprint(service.Spec.Selector)
}
