package cluster_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/target/cluster"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

const checkedDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`

// The rights that doctor asks for are those of manifests/rbac/deployer.yaml: with them nothing is missing, and one that is
// taken away is named as the rule that grants it.
func TestCheckNamesMissingRights(t *testing.T) {
	kubeconfig := kubetest.Shared(t)
	client := kubetest.Client(t)
	for namespace, without := range map[string]string{"check-all": "", "check-less": "create deployments"} {
		t.Run(namespace, func(t *testing.T) {
			kubetest.Namespace(t, client, namespace)
			c := asDeployer(t, testCluster{kubeconfig, client}, namespace, without)
			checks := c.CheckRelease(t.Context(), cluster.Release{
				App: "web", Namespace: namespace, Objects: []*unstructured.Unstructured{kubetest.Decode(t, checkedDeployment)},
			})
			failed := slices.DeleteFunc(checks, func(c delivery.Check) bool { return c.Status == delivery.CheckOK })
			if without == "" {
				assert.Empty(t, failed)
				return
			}
			require.Len(t, failed, 1)
			assert.Equal(t, "rights", failed[0].Name)
			assert.Contains(t, failed[0].Remedy, `- {apiGroups: ["apps"], resources: [deployments], verbs: [create]}`)
		})
	}
}

func TestCheckFindsAMissingNamespace(t *testing.T) {
	c, _ := kubetest.Connect(t)
	checks := cluster.New(c).CheckRelease(t.Context(), cluster.Release{
		App: "web", Namespace: "nowhere", Objects: []*unstructured.Unstructured{kubetest.Decode(t, checkedDeployment)},
	})
	i := slices.IndexFunc(checks, func(c delivery.Check) bool { return c.Name == "namespace" })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, delivery.CheckFailed, checks[i].Status)
	assert.Equal(t, "kubectl create namespace nowhere", checks[i].Remedy)
}
