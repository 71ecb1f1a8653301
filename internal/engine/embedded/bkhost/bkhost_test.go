package bkhost

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestAddresses(t *testing.T) {
	none, err := New("", "")
	require.NoError(t, err)
	require.Nil(t, none)
	for _, address := range []string{"unix:///run/buildkit/buildkitd.sock", "tcp://127.0.0.1:1234", "tcp://[::1]:1234", "tcp://buildkitd.example:1234"} {
		h, err := New(address, "")
		require.NoError(t, err, address)
		assert.Equal(t, address, h.Address)
	}
	for address, want := range map[string]string{
		"unix://run/buildkitd.sock":      "want unix:///PATH",
		"tcp://127.0.0.1":                "want tcp://HOST:PORT",
		"127.0.0.1:1234":                 Variable,
		"/run/buildkit/buildkitd.sock":   "want unix:///PATH or tcp://HOST:PORT",
		"npipe:////./pipe/buildkitd":     "want unix:///PATH or tcp://HOST:PORT",
		"docker-container://buildkitd":   "docker run -p 127.0.0.1:1234:1234",
		"podman-container://buildkitd":   "podman run",
		"kube-pod://buildkitd-0":         "kubectl port-forward",
		"ssh://me@builder":               "ssh -N -L",
		"nerdctl-container://buildkitd/": "unset it",
	} {
		_, err := New(address, "")
		assert.Equal(t, fault.ExitUsage, fault.ExitCode(err), address)
		assert.ErrorContains(t, err, want, address)
	}
}

func TestWarnings(t *testing.T) {
	for address, warned := range map[string]bool{
		"unix:///run/buildkit/buildkitd.sock": false, "tcp://127.0.0.1:1234": false, "tcp://localhost:1234": false,
		"tcp://[::1]:1234": false, "tcp://10.0.0.1:1234": true, "tcp://buildkitd:1234": true,
	} {
		h, err := New(address, "")
		require.NoError(t, err)
		assert.Equal(t, warned, len(h.Warnings(&Worker{})) > 0, address)
	}
	encrypted, err := New("tcp://buildkitd:1234", t.TempDir())
	require.NoError(t, err)
	assert.Empty(t, encrypted.Warnings(&Worker{}))
	assert.Len(t, encrypted.Warnings(&Worker{SharedNetwork: true}), 1)
}

func TestNobodyAnswers(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone.sock")
	h, err := New("unix://"+gone, "")
	require.NoError(t, err)
	_, _, err = h.Connect(t.Context())
	require.ErrorContains(t, err, "no BuildKit answers at unix://"+gone)
	require.ErrorContains(t, err, "unset "+Variable)

	// A server that speaks something else: the time is bounded by the server's end of the connection.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example ESMTP\r\n"))
			_ = c.Close()
		}
	}()
	h, err = New("tcp://"+l.Addr().String(), "")
	require.NoError(t, err)
	_, _, err = h.Connect(t.Context())
	require.ErrorContains(t, err, "no BuildKit answers at tcp://"+l.Addr().String())
}

func TestCertificatesThatAreMissing(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), nil, 0o600))
	h, err := New("tcp://buildkitd:1234", dir)
	require.NoError(t, err)
	_, _, err = h.Connect(t.Context())
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	assert.ErrorContains(t, err, "cert.pem")
}

func TestExplanations(t *testing.T) {
	var own *Host
	plain := errors.New("http: server gave HTTP response to HTTPS client")
	require.Equal(t, plain, own.Explain(plain))
	h, err := New("unix:///run/b.sock", "")
	require.NoError(t, err)
	require.NoError(t, h.Explain(nil))
	require.ErrorContains(t, h.Explain(plain), "http = true")
	require.ErrorIs(t, h.Explain(plain), plain)
	other := errors.New("exit code 1")
	require.Equal(t, other, h.Explain(other))
}
