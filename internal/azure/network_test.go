package azure_test

import (
	"net"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// What --connect-to says holds for all that a login asks: the CI system, Entra, the registry, the resource manager.
func TestConnectTo(t *testing.T) {
	cloud.SetAPIServerCA(t)
	by := func(endpoint string) *azure.Client {
		network, err := dial.To(endpoint)
		require.NoError(t, err)
		variables := gitHub(standin.SampleSubject)
		return azure.New(azure.Options{
			Lookup:   func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
			LookPath: func(string) (string, error) { return "", exec.ErrNotFound }, Network: network,
		})
	}
	require.NoError(t, logIn(t, by(cloud.Address)))
	_, _, err := by(cloud.Address).Cluster(devCluster).Kubeconfig(t.Context())
	require.NoError(t, err)
	_, err = by(cloud.Address).Key(t.Context(), "https://"+sampleVault+"/keys/"+standin.SampleKey)
	require.NoError(t, err)

	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	ctx := t.Context()
	_, err = by(nobody.Addr().String()).Cluster(devCluster).Token(ctx)
	require.Error(t, err, "the proxy of the environment is not taken")
	assert.Contains(t, err.Error(), "connection refused")
}
