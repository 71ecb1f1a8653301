//go:build linux

package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/engine/embedded/bkhost"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/buildkittest"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// embedded is the embedded engine with more variables in its environment; told gets what its user is told.
func embedded(base string, told func(report.Event), env ...string) Engine {
	env = append(os.Environ(), env...)
	return Engine{Base: base, Connect: func(t testing.TB) (*dagger.Client, func()) {
		ctx := report.With(t.Context(), report.SinkFunc(told))
		s, err := engine.Connect(ctx, engine.Options{Engine: engine.Embedded, Env: env})
		require.NoError(t, err)
		closeSession := sync.OnceFunc(func() { _ = s.Close() })
		t.Cleanup(closeSession)
		return s.Client(), closeSession
	}}
}

// TestBuildKitHost judges the embedded engine on a BuildKit that is there already, whose containers have networks of their
// own.
func TestBuildKitHost(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	address := buildkittest.Start(t, buildkittest.Options{Network: true, Toml: "insecure-entitlements = [\"security.insecure\"]\n"})
	base := registrytest.Start(t) + "/" + baseimage.Debian
	Run(t, embedded(base, func(report.Event) {}, "AKSFLOW_STATE="+t.TempDir(), bkhost.Variable+"="+address), elsewhere()...)
}

// TestSharedNetwork: on a BuildKit without a configuration, all containers have one network. What works there, and that
// the rest is refused by name. The connection is TCP with certificates.
func TestSharedNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	certificates, port := certificates(t), freePort(t)
	file := func(name string) string { return filepath.Join(certificates, name) }
	buildkittest.Start(t, buildkittest.Options{Args: []string{"--addr", fmt.Sprintf("tcp://127.0.0.1:%d", port),
		"--tlscert", file("cert.pem"), "--tlskey", file("key.pem"), "--tlscacert", file("ca.pem")}})
	var mu sync.Mutex
	var told []string
	base := registrytest.Start(t) + "/" + baseimage.Debian
	r := &rig{Engine: embedded(base, func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e.Message)
	}, fmt.Sprintf("%s=tcp://127.0.0.1:%d", bkhost.Variable, port), bkhost.TLS+"="+certificates, "AKSFLOW_STATE="+t.TempDir())}
	r.Client, _ = r.Connect(t)
	mu.Lock()
	said := strings.Join(told, "\n")
	mu.Unlock()
	assert.Contains(t, said, fmt.Sprintf("engine: embedded, on the BuildKit of BUILDKIT_HOST (tcp://127.0.0.1:%d)", port))
	assert.Contains(t, said, "two services cannot listen on one port")
	assert.NotContains(t, said, "not encrypted")

	ctx, taken := within(t), freePort(t)
	server := func(text string) *dagger.Service {
		return r.fresh().WithExposedPort(taken).AsService(dagger.ContainerAsServiceOpts{Args: serving(taken, text, 1)})
	}
	out, err := r.base().WithServiceBinding("srv", server("hello")).WithExec(asking("srv", taken)).Stdout(ctx)
	require.NoError(t, err)
	assert.Contains(t, out, "hello ")

	// Another service on that port would be answered for by the first one, which runs until the session ends.
	_, err = r.base().WithServiceBinding("srv", server("other")).WithExec(asking("srv", taken)).Stdout(ctx)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "another process has the port in the network that this BuildKit gives to all containers")

	_, err = r.fresh().WithExec([]string{"true"}, dagger.ContainerWithExecOpts{InsecureRootCapabilities: true}).Sync(ctx)
	assert.ErrorContains(t, err, "--allow-insecure-entitlement security.insecure")
}

// freePort returns a TCP port of 127.0.0.1 that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// certificates makes a directory with ca.pem, cert.pem and key.pem for 127.0.0.1, for the daemon and its client alike.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "buildkit"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: cert}, "cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	return dir
}
