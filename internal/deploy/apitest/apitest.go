// Package apitest runs a real Kubernetes control plane for tests: etcd, the API server and, when asked for, the
// controller manager, all on loopback and gone when the test process ends. There is no node, so no pod ever runs; Nodes
// stands in for the kubelets where a test wants to say how pods fare.
package apitest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// token lets its bearer do everything.
const token = "apitest"

// Server is a control plane.
type Server struct {
	// Kubeconfig is a file whose user may do everything.
	Kubeconfig string
	// Config is its content for client-go.
	Config *rest.Config
	// Client uses it.
	Client kubernetes.Interface

	dir       string
	port      int
	etcd, api *process
	others    []func() // end what else was started
	etcdURL   string
	binary    string
}

// Binary finds the Kubernetes binary that `make setup` builds: in AKSFLOW_BIN, in the repository's bin, on PATH.
func Binary() (string, error) {
	places := []string{os.Getenv("AKSFLOW_BIN")}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			places = append(places, filepath.Join(dir, "bin"))
		}
	}
	for _, place := range places {
		path := filepath.Join(place, "kubernetes")
		if info, err := os.Stat(path); place != "" && err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return exec.LookPath("kubernetes")
}

// Start starts etcd and the API server, or skips the test where they are not installed. Stop ends them.
func Start(t testing.TB) *Server {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		t.Skip("no Kubernetes binary: `make setup` builds it")
	}
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("no etcd on PATH: install Debian's etcd-server")
	}
	dir, err := os.MkdirTemp("", "apitest-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{dir: dir, binary: binary}
	if err := s.start(); err != nil {
		s.Stop()
		t.Fatal(err)
	}
	return s
}

func (s *Server) start() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	s.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	peer := fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	s.port = ports[2]
	s.etcd, err = run(filepath.Join(s.dir, "etcd.log"), "etcd", "--data-dir", filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", s.etcdURL, "--advertise-client-urls", s.etcdURL,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	if err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"sa.key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"tokens.csv": []byte(token + ",admin,admin,system:masters\ndeployer,deployer,deployer\n"),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	if err := s.StartAPI(); err != nil {
		return err
	}
	s.Kubeconfig, err = s.WriteKubeconfig("admin", token, s.URL())
	if err != nil {
		return err
	}
	if s.Config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		return err
	}
	s.Config.QPS = -1
	if s.Client, err = kubernetes.NewForConfig(s.Config); err != nil {
		return err
	}
	return s.ready()
}

// URL is the API server's address.
func (s *Server) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", s.port) }

// StartAPI starts the API server, for the first time or after KillAPI, and does not wait for it.
func (s *Server) StartAPI() (err error) {
	key := filepath.Join(s.dir, "sa.key")
	s.api, err = run(filepath.Join(s.dir, "apiserver.log"), s.binary, "kube-apiserver",
		"--etcd-servers", s.etcdURL, "--secure-port", fmt.Sprint(s.port), "--bind-address", "127.0.0.1",
		"--cert-dir", filepath.Join(s.dir, "apiserver"), "--service-cluster-ip-range", "10.96.0.0/16",
		"--authorization-mode", "RBAC", "--token-auth-file", filepath.Join(s.dir, "tokens.csv"),
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--disable-admission-plugins", "ServiceAccount", "--allow-privileged")
	return err
}

// KillAPI ends the API server at once, without a word to its clients.
func (s *Server) KillAPI() { s.api.kill() }

// Ready returns when the API server answers that it is.
func (s *Server) Ready(t testing.TB) {
	t.Helper()
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) ready() error {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // Its certificate is made anew for each test.
	}}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(60 * time.Second)
	for {
		request, err := http.NewRequest(http.MethodGet, s.URL()+"/readyz", nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		for _, p := range []*process{s.etcd, s.api} {
			if p.ended() {
				return fmt.Errorf("%s ended:\n%s", p.name, p.tail())
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the API server is not ready after a minute (%w):\n%s", err, s.api.tail())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// StartControllers starts the controller manager, so that Deployments get ReplicaSets and those get pods.
func (s *Server) StartControllers(t testing.TB) {
	t.Helper()
	p, err := run(filepath.Join(s.dir, "controllers.log"), s.binary, "kube-controller-manager",
		"--kubeconfig", s.Kubeconfig, "--secure-port", "0", "--leader-elect=false",
		"--controllers", "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,namespace-controller,garbage-collector-controller,disruption-controller,resourcequota-controller,endpointslice-controller,endpoints-controller",
		"--concurrent-deployment-syncs", "10", "--kube-api-qps", "500", "--kube-api-burst", "1000")
	if err != nil {
		t.Fatal(err)
	}
	s.others = append(s.others, p.kill)
}

// WriteKubeconfig writes a kubeconfig for a bearer token and an address, and returns its path.
func (s *Server) WriteKubeconfig(name, token, url string) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: url, InsecureSkipTLSVerify: true}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	path := filepath.Join(s.dir, name+".kubeconfig")
	return path, clientcmd.WriteToFile(*config, path)
}

// Stop ends everything and removes its files.
func (s *Server) Stop() {
	for _, end := range s.others {
		end()
	}
	for _, p := range []*process{s.api, s.etcd} {
		if p != nil {
			p.kill()
		}
	}
	_ = os.RemoveAll(s.dir)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

type process struct {
	name, log string
	command   *exec.Cmd
	done      chan struct{}
	once      sync.Once
}

func run(log, name string, args ...string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &process{name: filepath.Base(name), log: log, command: exec.CommandContext(context.Background(), name, args...), done: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = file, file
	// A test binary that is killed takes its servers with it.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	go func() { _ = p.command.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) kill() {
	p.once.Do(func() { _ = p.command.Process.Kill() })
	<-p.done
}

func (p *process) tail() string {
	data, _ := os.ReadFile(p.log)
	lines := strings.Split(string(bytes.TrimSpace(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
