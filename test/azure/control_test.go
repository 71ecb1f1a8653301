package azure

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// transport goes through a proxy and trusts the stand-in.
func transport(t *testing.T, proxy *url.URL) *http.Transport {
	t.Helper()
	ca, err := os.ReadFile(local.Azure.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	return &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
}
