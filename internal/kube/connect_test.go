package kube_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/kube"
)

// The API server keeps its name when it is reached elsewhere, and a proxy of the kubeconfig has no part in that.
func TestConnectThroughAnotherNetwork(t *testing.T) {
	var host, sni string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, sni = r.Host, r.TLS.ServerName
		_, _ = w.Write([]byte(`{"gitVersion":"v1.34.4"}`))
	}))
	defer server.Close()
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{
		Server: "https://example.com:6443", ProxyURL: "http://127.0.0.1:1", // a name in httptest's certificate
		CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a"}
	config.CurrentContext = "a"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))

	rule, err := dial.ParseRule("example.com:6443:" + server.Listener.Addr().String())
	require.NoError(t, err)
	c, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: path, Network: dial.Network{Rules: []dial.Rule{rule}}})
	require.NoError(t, err)
	assert.Equal(t, "v1.34.4", c.Version())
	assert.Equal(t, []string{"example.com:6443", "example.com"}, []string{host, sni})

	rule.Host = "another.example.com"
	_, err = kube.Connect(t.Context(), kube.Options{Kubeconfig: path, Network: dial.Network{Rules: []dial.Rule{rule}}})
	require.ErrorContains(t, err, "proxyconnect")
}
