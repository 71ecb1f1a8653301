package dial_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestParseRule(t *testing.T) {
	for value, want := range map[string]dial.Rule{
		"registry.example.com:443:127.0.0.1:5000": {Host: "registry.example.com", Port: "443", ToHost: "127.0.0.1", ToPort: "5000"},
		"::endpoint:5000":                         {ToHost: "endpoint", ToPort: "5000"},
		":443:endpoint:":                          {Port: "443", ToHost: "endpoint"},
		"host:443:endpoint":                       {Host: "host", Port: "443", ToHost: "endpoint"},
		"host:::5000":                             {Host: "host", ToPort: "5000"},
		"[::1]:443:[fe80::1]:5000":                {Host: "::1", Port: "443", ToHost: "fe80::1", ToPort: "5000"},
		"host:443:[::1]":                          {Host: "host", Port: "443", ToHost: "::1"},
	} {
		got, err := dial.ParseRule(value)
		require.NoError(t, err, value)
		assert.Equal(t, want, got, value)
		again, err := dial.ParseRule(got.String())
		require.NoError(t, err, got.String())
		assert.Equal(t, want, again)
	}
	for value, want := range map[string]string{
		"":                             "it has 1 parts",
		"host":                         "it has 1 parts",
		"host:443":                     "it has 2 parts",
		"a:1:b:2:c":                    "it has 5 parts",
		"https://host:443:endpoint:80": "it has 5 parts",
		"https://host:endpoint:80":     `"//host" is no port`,
		"host:443:endpoint/path:80":    `"endpoint/path" is no host`,
		"host:443:user@endpoint:80":    `"user@endpoint" is no host`,
		"host:0:endpoint:80":           `"0" is no port`,
		"host:65536:endpoint:80":       `"65536" is no port`,
		"host:443:endpoint:http":       `"http" is no port`,
		"host:443:endpoint:+80":        `"+80" is no port`,
		"host:443::":                   "leads nowhere else",
		"[::1:443:endpoint:80":         "no IPv6 address",
		"[host]:443:endpoint:80":       "no IPv6 address",
		"[::1]443:endpoint:80":         "a colon has to follow the bracket",
		"::1:443:endpoint:80":          "it has 6 parts",
	} {
		_, err := dial.ParseRule(value)
		require.ErrorContains(t, err, want, value)
		assert.Equal(t, fault.ExitUsage, fault.ExitCode(err), value)
	}
}

// recorder is a Func that notes the address, and connects to one listener.
func recorder(to string, addresses *[]string) dial.Func {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		*addresses = append(*addresses, address)
		return new(net.Dialer).DialContext(ctx, network, to)
	}
}

func rules(t *testing.T, values ...string) (rules []dial.Rule) {
	t.Helper()
	for _, value := range values {
		r, err := dial.ParseRule(value)
		require.NoError(t, err)
		rules = append(rules, r)
	}
	return rules
}

func TestFirstRuleThatFits(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var dialled []string
	n := dial.Network{
		Rules:  rules(t, "a.example:443:one:1", "a.example::two:", "[0:0::1]:443:three:3", ":22::2222"),
		Dialer: recorder(listener.Addr().String(), &dialled),
	}
	for asked, want := range map[string]string{
		"a.example:443": "one:1",
		"A.Example:443": "one:1",
		"a.example:80":  "two:80",
		"[::1]:443":     "three:3",
		"b.example:22":  "b.example:2222",
		"b.example:443": "b.example:443",
		"aa.example:80": "aa.example:80",
	} {
		dialled = nil
		conn, err := n.Dial(t.Context(), "tcp", asked)
		require.NoError(t, err)
		conn.Close()
		assert.Equal(t, []string{want}, dialled, asked)
	}
}

// The name stays in the Host header, in SNI and in the check of the certificate, and a proxy is asked for other hosts only.
func TestClientKeepsNames(t *testing.T) {
	var host, sni string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host, sni = r.Host, r.TLS.ServerName }))
	server.StartTLS()
	defer server.Close()
	n := dial.Network{Rules: rules(t, "example.com:443:"+server.Listener.Addr().String())} // a name in httptest's certificate
	trust := x509.NewCertPool()
	trust.AddCert(server.Certificate())
	asked := 0
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{RootCAs: trust}
	base.Proxy = func(*http.Request) (*url.URL, error) { asked++; return nil, errors.New("the proxy is asked") }
	client := &http.Client{Transport: n.Transport(base)}
	answer, err := client.Get("https://example.com/")
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, "example.com", host)
	assert.Equal(t, "example.com", sni)
	assert.Zero(t, asked)

	_, err = client.Get("https://example.com:8443/")
	require.ErrorContains(t, err, "the proxy is asked")

	n.Rules = rules(t, "wrong.example:443:"+server.Listener.Addr().String())
	_, err = (&http.Client{Transport: n.Transport(base)}).Get("https://wrong.example/")
	require.ErrorContains(t, err, "certificate is valid for example.com")
}

func TestErrorNamesTheRule(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := listener.Addr().String()
	listener.Close()
	_, err = dial.Network{Rules: rules(t, "registry.example:443:"+closed)}.Dial(t.Context(), "tcp", "registry.example:443")
	require.ErrorContains(t, err, "--connect-to registry.example:443:"+closed+", for registry.example:443: ")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}
