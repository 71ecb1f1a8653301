package cluster_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/target/cluster"
)

func TestUninstall(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	newNamespace(t, s, "uninstall")
	c := asDeployer(t, s, "uninstall", "")
	ctx, log := events(t)
	const kept = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, annotations: {helm.sh/resource-policy: keep}}\n---\n"
	release := vote(t, "uninstall", "v1")
	release.Objects = append(release.Objects[1:], manifests(t, kept, "uninstall")...) // without the Namespace
	_, err := c.Deploy(ctx, release)
	require.NoError(t, err, log)
	_, err = c.Deploy(ctx, cluster.Release{App: "other", Namespace: "uninstall", User: "tester", Objects: manifests(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n", "uninstall")})
	require.NoError(t, err, log)

	of := cluster.App{Name: "vote", Namespace: "uninstall", User: "tester"}
	result, err := c.Uninstall(ctx, of)
	require.NoError(t, err, log)
	assert.Equal(t, map[string]string{
		"Deployment/vote": cluster.Pruned, "Service/vote": cluster.Pruned, "ConfigMap/settings": cluster.Pruned, "Secret/redis": cluster.Pruned,
	}, statuses(result))
	assert.Contains(t, log.String(), "Secret/uninstall/key stays, since an annotation says that it is kept: --prune-kept deletes it")
	assert.NotNil(t, get(t, c, "v1", "Secret", "uninstall", "key"))
	assert.NotNil(t, get(t, c, "v1", "ConfigMap", "uninstall", "other"), "another app's")

	of.PruneKept = true
	_, err = c.Uninstall(ctx, of)
	require.NoError(t, err, log)
	var names []string
	for _, kind := range []string{"Secret", "ConfigMap"} {
		list, err := c.Kube().List(ctx, schema.FromAPIVersionAndKind("v1", kind), "uninstall", metav1.ListOptions{})
		require.NoError(t, err)
		for _, o := range list {
			names = append(names, kind+"/"+o.GetName())
		}
	}
	assert.ElementsMatch(t, []string{"ConfigMap/kube-root-ca.crt", "ConfigMap/other", "ConfigMap/aksflow-other", "Secret/aksflow-other.v1"}, names)
	leases, err := s.Client.CoordinationV1().Leases("uninstall").List(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, leases.Items, 1)
	assert.Equal(t, "aksflow-other", leases.Items[0].Name)

	result, err = c.Uninstall(ctx, of)
	require.NoError(t, err)
	assert.Empty(t, result.Objects, "nothing is left")
	_, err = connect(t).Uninstall(ctx, cluster.App{Name: "vote", Namespace: "no-such-namespace"})
	require.NoError(t, err)
}
