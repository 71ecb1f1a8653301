// Package azuretest gives tests the stand-in for Azure in the test's own process, with a real registry behind its
// container registry and a real kube-apiserver behind its clusters. The whole process reaches it: the proxy and the
// certificate authority stand in the environment, as they do for a user's command.
package azuretest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/localplatform/controlplane"
	"github.com/aksflow/aksflow/internal/localplatform/pki"
	"github.com/aksflow/aksflow/internal/localplatform/process"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
	"github.com/aksflow/aksflow/internal/tool"
)

// Azure is a stand-in that runs.
type Azure struct {
	*standin.Server
	// Address is host:port of its TLS listener, and Proxy the URL of its proxy.
	Address, Proxy string

	dir          string
	registryPort int
	apiPort      int
	registry     sync.Once
	registryErr  error
	ended        []func()
}

// Main starts a stand-in with the sample estate, points the process's environment to it, and runs the package's tests:
//
//	var azure *azuretest.Azure
//	func TestMain(m *testing.M) { azuretest.Main(m, &azure) }
//
// It must come first: a process reads proxies and certificate authorities once.
func Main(m *testing.M, azure **Azure) {
	code, err := run(m, azure)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M, azure **Azure) (int, error) {
	dir, err := os.MkdirTemp("", "azuretest")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	a, err := start(dir)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, end := range a.ended {
			end()
		}
	}()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		os.Setenv(name, a.Proxy)
	}
	os.Setenv("NO_PROXY", "127.0.0.1,localhost")
	os.Setenv("SSL_CERT_FILE", a.CAFile())
	*azure = a
	return m.Run(), nil
}

func start(dir string) (*Azure, error) {
	a := &Azure{dir: dir}
	var listeners [4]net.Listener // all open at once, so that the ports differ
	for i := range listeners {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	port := func(i int) int { return listeners[i].Addr().(*net.TCPAddr).Port }
	a.registryPort, a.apiPort = port(2), port(3)
	for _, l := range listeners[2:] {
		_ = l.Close()
	}
	var err error
	a.Server, err = standin.New(standin.Options{
		Dir: filepath.Join(dir, "azure"), Estate: standin.Sample(), Registry: fmt.Sprintf("127.0.0.1:%d", a.registryPort),
		APIServer: fmt.Sprintf("127.0.0.1:%d", a.apiPort), APIServerCA: filepath.Join(dir, "kubernetes", "ca.crt"),
	})
	if err != nil {
		return nil, err
	}
	a.Address, a.Proxy = listeners[0].Addr().String(), "http://"+listeners[1].Addr().String()
	go func() { _ = a.Serve(listeners[0], listeners[1]) }()
	return a, nil
}

// Registry starts the registry behind the container registry, once for all tests of the package, and returns the latter's
// login server. Without the registry's program the test is skipped.
func (a *Azure) Registry(t testing.TB) (host string) {
	t.Helper()
	program, err := tool.Find("registry", "")
	if err != nil {
		t.Skipf("no registry for this test: %v", err)
	}
	a.registry.Do(func() { a.registryErr = a.startRegistry(program) })
	if a.registryErr != nil {
		t.Fatal(a.registryErr)
	}
	return standin.SampleRegistry + ".azurecr.io"
}

func (a *Azure) startRegistry(program string) error {
	auth, err := a.RegistryConfig()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", a.registryPort)
	type object = map[string]any
	content, err := yaml.Marshal(object{
		"version": "0.1", "auth": auth, "log": object{"level": "warn", "accesslog": object{"disabled": true}},
		"storage": object{"filesystem": object{"rootdirectory": filepath.Join(a.dir, "registry")}},
		"http":    object{"addr": address, "relativeurls": true},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(a.dir, "registry.yml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	p, err := process.Start(ctx, process.Spec{
		Name: "registry", Path: program, Args: []string{"serve", file}, Env: []string{"OTEL_TRACES_EXPORTER=none"},
		Ready: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}, a.dir)
	if err != nil {
		end()
		return err
	}
	a.ended = append(a.ended, func() { end(); <-p.Done() })
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.AwaitReady(starting)
}

// SetAPIServerCA puts a certificate in the place of the kube-apiserver's, for kubeconfigs of clusters that nobody connects to.
func (a *Azure) SetAPIServerCA(t testing.TB) {
	t.Helper()
	dir := filepath.Join(a.dir, "kubernetes")
	if _, err := pki.New(dir); err != nil {
		t.Fatal(err)
	}
}

// Cluster starts the kube-apiserver behind all clusters of the estate, and returns an administrator's kubeconfig. It asks
// Azure for rights that its own Roles do not give. It ends with the test.
func (a *Azure) Cluster(t testing.TB) (kubeconfig string) {
	t.Helper()
	authentication, err := a.AuthenticationConfig(a.Address)
	if err != nil {
		t.Fatal(err)
	}
	authorization := filepath.Join(a.dir, "authorization.yaml")
	if err := os.WriteFile(authorization, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: azure, cluster: {server: "https://%s%s", certificate-authority: %q}}]
users: [{name: apiserver}]
contexts: [{name: azure, context: {cluster: azure, user: apiserver}}]
current-context: azure
`, a.Address, standin.AuthorizePath, a.CAFile()), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubetest.StartAs(t, controlplane.Config{
		Dir: filepath.Join(a.dir, "kubernetes"), APIPort: a.apiPort, Hosts: a.Estate().APIServerHosts(),
		Authentication: authentication, Authorization: authorization,
	})
}
