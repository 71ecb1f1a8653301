// Package controlplane describes how to start etcd and the servers of Kubernetes' control plane on one machine: their
// certificates, their flags, and their readiness checks.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/localplatform/pki"
	"github.com/aksflow/aksflow/internal/localplatform/process"
)

// Domain is the cluster's DNS domain.
const Domain = "cluster.local"

// Config describes one control plane.
type Config struct {
	Kubernetes string // the multi-call binary, which includes etcd
	Dir        string // for certificates and kubeconfig files
	Data       string // etcd's data

	// Ports on loopback. The API server listens on every interface if NodeIP is set.
	APIPort, EtcdPort, EtcdPeerPort, ControllerManagerPort, SchedulerPort int

	// NodeIP is the address at which pods and nodes reach the API server. Empty means that there are none.
	NodeIP string
	// NodeName is the name of the node. Certificates for its kubelet are made with the others.
	NodeName string
	// Hosts are further names that the API server is reached by.
	Hosts []string
	// Authentication is the file of an AuthenticationConfiguration: whose tokens the API server takes beside certificates and
	// service accounts. Empty means nobody's. https://kubernetes.io/docs/reference/access-authn-authz/authentication/
	Authentication string
	// Authorization is the kubeconfig of a webhook that is asked for a right that RBAC does not give. Empty means none.
	Authorization string
	// ServiceCIDR is the range of Service addresses. The first one is the API server's.
	ServiceCIDR string
}

// Admin returns the kubeconfig file of an administrator, which Prepare makes.
func (c *Config) Admin() string { return c.Kubeconfig("admin") }

// Kubeconfig returns the kubeconfig file of one client: admin, controller-manager, scheduler, kubelet, kube-proxy or coredns.
func (c *Config) Kubeconfig(client string) string { return filepath.Join(c.Dir, client+".kubeconfig") }

// File returns the path of a certificate or key that Prepare makes.
func (c *Config) File(name string) string { return filepath.Join(c.Dir, name) }

// URL returns the API server's address from this machine.
func (c *Config) URL() string { return "https://127.0.0.1:" + strconv.Itoa(c.APIPort) }

// Prepare makes the certificates and kubeconfig files.
func (c *Config) Prepare() error {
	first, err := firstAddress(c.ServiceCIDR)
	if err != nil {
		return err
	}
	ca, err := pki.New(c.Dir)
	if err != nil {
		return err
	}
	hosts := []string{
		"localhost", "127.0.0.1", first,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + Domain,
	}
	hosts = append(hosts, c.Hosts...)
	if c.NodeIP != "" {
		hosts = append(hosts, c.NodeIP)
		if err := ca.Server("kubelet-server", c.NodeName, c.NodeIP); err != nil {
			return err
		}
	}
	if err := ca.Server("apiserver", hosts...); err != nil {
		return err
	}
	if err := ca.Key("service-accounts"); err != nil {
		return err
	}
	const masters = "system:masters"
	for _, client := range []struct {
		name, user string
		groups     []string
	}{
		{"admin", "aksflow-admin", []string{masters}},
		{"apiserver-kubelet-client", "apiserver", []string{masters}},
		{"controller-manager", "system:kube-controller-manager", []string{masters}},
		{"scheduler", "system:kube-scheduler", nil},
		{"kubelet", "system:node:" + c.NodeName, []string{"system:nodes"}},
		{"kube-proxy", "system:kube-proxy", nil},
		{"coredns", "system:coredns", nil},
	} {
		if err := ca.Client(client.name, c.URL(), client.user, client.groups...); err != nil {
			return err
		}
	}
	return nil
}

// EtcdSpec returns the store.
func (c *Config) EtcdSpec() process.Spec {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", c.EtcdPort), fmt.Sprintf("http://127.0.0.1:%d", c.EtcdPeerPort)
	return process.Spec{
		Name: "etcd", Path: c.Kubernetes,
		Args: []string{
			"etcd", "--name=default", "--data-dir=" + c.Data, "--log-level=warn",
			"--unsafe-no-fsync", // the data need not survive a crash of the machine
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
			"--quota-backend-bytes=" + strconv.Itoa(2<<30),
		},
		Ready: Answers(http.DefaultClient, client+"/health"),
	}
}

// APIServerSpec returns the API server: with RBAC, Pod Security admission and defaults for the rest.
func (c *Config) APIServerSpec() process.Spec {
	args := []string{
		"kube-apiserver",
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", c.EtcdPort),
		"--secure-port=" + strconv.Itoa(c.APIPort),
		"--service-cluster-ip-range=" + c.ServiceCIDR,
		"--client-ca-file=" + c.File("ca.crt"),
		"--tls-cert-file=" + c.File("apiserver.crt"), "--tls-private-key-file=" + c.File("apiserver.key"),
		"--kubelet-client-certificate=" + c.File("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + c.File("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + c.File("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc." + Domain,
		"--service-account-key-file=" + c.File("service-accounts.key"),
		"--service-account-signing-key-file=" + c.File("service-accounts.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
		// There are no aggregated API servers.
		"--endpoint-reconciler-type=" + map[bool]string{true: "lease", false: "none"}[c.NodeIP != ""],
	}
	if c.NodeIP != "" {
		args = append(args, "--bind-address=0.0.0.0", "--advertise-address="+c.NodeIP)
	} else {
		// Without nodes nobody uses this address. It is set because the API server would guess it from the machine's routes,
		// and a machine without a network has none.
		args = append(args, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1")
	}
	if c.Authentication != "" {
		args = append(args, "--authentication-config="+c.Authentication)
	}
	if c.Authorization != "" {
		// A further mode, beside those above. Answers are not remembered: rights change in tests.
		args = append(args, "--authorization-mode=Webhook", "--authorization-webhook-config-file="+c.Authorization,
			"--authorization-webhook-version=v1", "--authorization-webhook-cache-unauthorized-ttl=0s", "--authorization-webhook-cache-authorized-ttl=0s")
	}
	return process.Spec{
		Name: "kube-apiserver", Path: c.Kubernetes, Args: args,
		Ready: func(ctx context.Context) error {
			client, err := c.Client("admin")
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			return Answers(client, c.URL()+"/readyz")(ctx)
		},
	}
}

// ControllerManagerSpec returns the controllers. They share one account, because making a token for each takes four seconds.
func (c *Config) ControllerManagerSpec() process.Spec {
	return process.Spec{
		Name: "kube-controller-manager", Path: c.Kubernetes,
		Args: append([]string{
			"kube-controller-manager",
			"--root-ca-file=" + c.File("ca.crt"),
			"--service-account-private-key-file=" + c.File("service-accounts.key"),
		}, c.controller("controller-manager", c.ControllerManagerPort)...),
		Ready: c.healthz(c.ControllerManagerPort),
	}
}

// SchedulerSpec returns the scheduler.
func (c *Config) SchedulerSpec() process.Spec {
	return process.Spec{
		Name: "kube-scheduler", Path: c.Kubernetes,
		Args:  append([]string{"kube-scheduler"}, c.controller("scheduler", c.SchedulerPort)...),
		Ready: c.healthz(c.SchedulerPort),
	}
}

// controller returns the flags that the scheduler and the controller manager have in common. There is one of each, so they
// need no leader election, which takes seconds.
func (c *Config) controller(client string, port int) []string {
	kubeconfig := c.Kubeconfig(client)
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--profiling=false",
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		// The server makes a self-signed certificate here. Only the health check below connects to it.
		"--cert-dir=" + c.File(client+"-serving"),
	}
}

func (c *Config) healthz(port int) func(context.Context) error {
	// The certificate is self-signed, so there is nothing to verify it with. The port is on loopback.
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	return Answers(client, fmt.Sprintf("https://127.0.0.1:%d/healthz", port))
}

// Client returns an HTTP client for the API with the certificate of the client name.
func (c *Config) Client(name string) (*http.Client, error) {
	ca, err := os.ReadFile(c.File("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(c.File(name+".crt"), c.File(name+".key"))
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}},
		ForceAttemptHTTP2: true,
	}}, nil
}

// Answers returns a readiness check of a URL: the server is ready when it responds with 200.
func Answers(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // only for the error's text
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
		}
		return nil
	}
}

// firstAddress returns the first address of a range for Services, which is the API server's.
func firstAddress(cidr string) (string, error) {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return "", fmt.Errorf("the range of Service addresses: %w", err)
	}
	ip := network.IP
	ip[len(ip)-1]++
	return ip.String(), nil
}
