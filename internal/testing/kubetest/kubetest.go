// Package kubetest gives tests a Kubernetes API: etcd, the API server and the controllers as ordinary processes on
// loopback, without root, containers or a node. Deployments make ReplicaSets, and those make Pods, which stay pending. A
// test that needs them to run, or to fail, writes their status.
package kubetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/aksflow/aksflow/internal/localplatform/controlplane"
	"github.com/aksflow/aksflow/internal/localplatform/process"
	"github.com/aksflow/aksflow/internal/tool"
)

// startTimeout bounds the start, which takes 3 s on an idle machine.
const startTimeout = 2 * time.Minute

// Start starts a cluster for the test and returns the path of an administrator's kubeconfig. The cluster ends with the
// test. Without the servers' programs the test is skipped.
func Start(t testing.TB) (kubeconfig string) {
	t.Helper()
	return StartAs(t, controlplane.Config{})
}

// StartAs is like Start with a configuration: APIPort, Hosts, Authentication and Dir are kept where they are set.
func StartAs(t testing.TB, config controlplane.Config) (kubeconfig string) {
	t.Helper()
	config.Kubernetes = find(t)
	kubeconfig, stop, err := start(t.Context(), config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return kubeconfig
}

// shared is the cluster of the test binary.
var shared struct {
	sync.Mutex
	kubeconfig string
	err        error
	stop       func()
}

// Shared is like Start for tests that can share a cluster, each in a namespace of its own. The first call starts the
// cluster. The package's TestMain must call [Main], which ends it.
func Shared(t testing.TB) (kubeconfig string) {
	t.Helper()
	kubernetes := find(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.stop == nil && shared.err == nil {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "kubetest"); shared.err == nil {
			// Not the test's own context: the cluster outlives the test.
			shared.kubeconfig, shared.stop, shared.err = start(context.Background(), controlplane.Config{Kubernetes: kubernetes}, dir)
			end := shared.stop
			shared.stop = func() {
				if end != nil {
					end()
				}
				_ = os.RemoveAll(dir) // below the system's directory for such things
			}
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.kubeconfig
}

// Main runs a package's tests and ends the cluster of [Shared]:
//
//	func TestMain(m *testing.M) { kubetest.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	os.Exit(code)
}

func find(t testing.TB) (kubernetes string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the Kubernetes API server that tests use is built for Linux")
	}
	program, err := tool.Find("kubernetes", "")
	if err != nil {
		t.Skipf("no Kubernetes API for this test: %v", err)
	}
	return program
}

func start(ctx context.Context, config controlplane.Config, dir string) (kubeconfig string, stop func(), err error) {
	ports, err := freePorts(4)
	if err != nil {
		return "", nil, err
	}
	if config.Dir == "" {
		config.Dir = filepath.Join(dir, "kubernetes")
	}
	if config.APIPort == 0 {
		config.APIPort = ports[0]
	}
	config.Data, config.ServiceCIDR = filepath.Join(dir, "etcd"), "10.96.0.0/16"
	config.EtcdPort, config.EtcdPeerPort, config.ControllerManagerPort = ports[1], ports[2], ports[3]
	if err := config.Prepare(); err != nil {
		return "", nil, err
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx)) // until stop is called
	var started []*process.Process
	stop = func() {
		end()
		for _, p := range started {
			<-p.Done()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, spec := range []process.Spec{config.EtcdSpec(), config.APIServerSpec(), config.ControllerManagerSpec()} {
		p, err := process.Start(running, spec, dir)
		if err == nil {
			started = append(started, p)
			err = p.AwaitReady(ctx)
		}
		if err != nil {
			stop()
			return "", nil, err
		}
	}
	return config.Admin(), stop, nil
}

// freePorts finds n loopback ports that nothing listens on now.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		// Held until all are found, so that they differ.
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
