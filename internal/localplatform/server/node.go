//go:build linux

package server

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/localplatform/controlplane"
	"github.com/aksflow/aksflow/internal/localplatform/process"
)

// Ports inside the namespaces.
const (
	etcdPort, etcdPeerPort               = 2379, 2380
	controllerManagerPort, schedulerPort = 10257, 10259
	kubeletPort, kubeletHealthPort       = 10250, 10248
	proxyHealthPort, dnsReadyPort        = 10256, 8181
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	// pauseImage is the repository and tag of the image that holds a pod's namespaces.
	pauseImage = "aksflow/pause:1"
)

// Tasks that others wait for.
const (
	apiTask     = "kubernetes API"
	objectsTask = "cluster objects"
)

func (c *config) controlPlane() *controlplane.Config {
	return &controlplane.Config{
		Kubernetes: c.Programs["kubernetes"], Dir: c.State.run("kubernetes"), Data: "/run/aksflow/etcd", // in memory, because the cluster is a new one each time
		APIPort: c.Ports[apiListener], EtcdPort: etcdPort, EtcdPeerPort: etcdPeerPort,
		ControllerManagerPort: controllerManagerPort, SchedulerPort: schedulerPort,
		NodeIP: nodeIP, NodeName: nodeName, ServiceCIDR: serviceCIDR,
	}
}

// prepareControlPlane makes the certificates. With the stand-in for Azure the API server has the names of its clusters.
func (s *supervisor) prepareControlPlane() (*controlplane.Config, error) {
	cp := s.controlPlane()
	if s.standin != nil {
		cp.Authentication, cp.Hosts = s.authentication, s.standin.Estate().APIServerHosts()
	}
	return cp, cp.Prepare()
}

// kubernetes returns the tasks that start a cluster of one node. Servers that need the API would retry until it answers,
// but their pauses are longer than waiting for it here.
func (s *supervisor) kubernetes() ([]task, error) {
	cp, err := s.prepareControlPlane()
	if err != nil {
		return nil, err
	}
	admin, err := os.ReadFile(cp.Admin())
	if err != nil {
		return nil, fmt.Errorf("starting Kubernetes: %w", err)
	}
	if err := write(s.State.kubeconfig(), admin); err != nil {
		return nil, err
	}
	for _, configure := range []func() error{s.configureContainerd, s.configureKubelet, s.configureProxy, s.configureDNS} {
		if err := configure(); err != nil {
			return nil, err
		}
	}
	forward(s.inherited[apiListener], "127.0.0.1:"+strconv.Itoa(cp.APIPort))

	apiServer := s.keep(cp.APIServerSpec(), "etcd")
	api := apiServer.name
	return []task{
		s.serve(cp.EtcdSpec()),
		apiServer,
		{name: apiTask, after: []string{api}, run: func(context.Context) error { return nil }},
		s.serve(cp.ControllerManagerSpec(), api),
		s.serve(cp.SchedulerSpec(), api),
		s.serve(process.Spec{
			Name: "containerd", Path: s.Programs["containerd"],
			Args:  []string{"--config", s.State.run("containerd.toml")},
			Ready: func(context.Context) error { _, err := os.Stat(containerdSocket); return err },
		}),
		s.serve(process.Spec{
			Name: "kubelet", Path: s.Programs["kubernetes"],
			Args: []string{
				"kubelet", "--config=" + s.State.run("kubelet.yaml"), "--kubeconfig=" + cp.Kubeconfig("kubelet"),
				"--root-dir=" + s.State.run("kubelet"), "--hostname-override=" + nodeName, "--node-ip=" + nodeIP,
			},
			Ready: listens(fmt.Sprintf("127.0.0.1:%d", kubeletHealthPort)),
		}, api, "containerd"),
		s.serve(process.Spec{
			Name: "kube-proxy", Path: s.Programs["kubernetes"],
			Args:  []string{"kube-proxy", "--config=" + s.State.run("kube-proxy.yaml")},
			Ready: listens(fmt.Sprintf("127.0.0.1:%d", proxyHealthPort)),
		}, api),
		{name: objectsTask, after: []string{api}, quiet: true, run: func(ctx context.Context) error {
			return s.create(ctx, [][]byte{clusterObjects})
		}},
		s.serve(process.Spec{
			Name: "coredns", Path: s.Programs["coredns"], Args: []string{"-conf", s.State.run("Corefile")},
			Ready: controlplane.Answers(plainClient, fmt.Sprintf("http://127.0.0.1:%d/ready", dnsReadyPort)),
		}, objectsTask),
		{name: "volumes", after: []string{api}, quiet: true, run: s.provisionVolumes},
		{name: "load balancers", after: []string{api}, quiet: true, run: s.balanceServices},
		{name: "apps", after: []string{api}, quiet: true, run: s.serveApps},
		{name: "node", after: []string{"kubelet", "kube-proxy", "coredns", "kube-controller-manager", "kube-scheduler"}, run: s.awaitNode},
	}, nil
}

// clusterObjects are the objects that a cluster needs besides the control plane: for DNS and for volumes.
//
//go:embed cluster.yaml
var clusterObjects []byte

// configureContainerd configures Debian's containerd (1.6 and later). Images of Docker Hub come from the platform's own
// registry. AppArmor is off, because its profiles would be loaded into the kernel of the whole machine.
func (s *supervisor) configureContainerd() error {
	registry := "localhost:" + strconv.Itoa(s.Ports[registryListener])
	var auth string
	if s.RegistryUser != "" {
		for _, host := range []string{registry, "docker.io"} {
			auth += fmt.Sprintf("[plugins.'io.containerd.grpc.v1.cri'.registry.configs.%q.auth]\nusername = %q\npassword = %q\n",
				host, s.RegistryUser, s.RegistryPassword)
		}
	}
	file := fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"

[grpc]
address = %q

[plugins.'io.containerd.grpc.v1.cri']
sandbox_image = "%s/%s"
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true

[plugins.'io.containerd.grpc.v1.cri'.containerd]
snapshotter = %q

[plugins.'io.containerd.grpc.v1.cri'.cni]
bin_dir = %q
conf_dir = %q

[plugins.'io.containerd.grpc.v1.cri'.registry]
config_path = %q
%s`, s.State.run("containerd"), containerdSocket, registry, pauseImage, snapshotter(s.State.Path()), s.CNI,
		s.State.run("cni"), s.State.run("registries"), auth)
	if err := write(s.State.run("containerd.toml"), []byte(file)); err != nil {
		return err
	}
	mirror := fmt.Sprintf("server = \"https://registry-1.docker.io\"\n[host.\"http://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", registry)
	if err := write(s.State.run("registries", "docker.io", "hosts.toml"), []byte(mirror)); err != nil {
		return err
	}
	// Point to point: the node routes each pod's traffic, so that kube-proxy's rules apply to it without the kernel module
	// for bridged traffic.
	network := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "pods", "plugins": [
	{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	{"type": "portmap", "capabilities": {"portMappings": true}}
]}`, podCIDR)
	return write(s.State.run("cni", "pods.conflist"), []byte(network))
}

// snapshotter returns the containerd snapshotter for layers in dir: an overlay cannot be mounted on another overlay.
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

func (s *supervisor) configureKubelet() error {
	cp := s.controlPlane()
	type object = map[string]any
	if err := write(s.State.run("resolv.conf"), nil); err != nil { // the cluster's name server has none above it
		return err
	}
	return writeYAML(s.State.run("kubelet.yaml"), object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false}, "x509": object{"clientCAFile": cp.File("ca.crt")},
			"webhook": object{"enabled": true},
		},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   cp.File("kubelet-server.crt"), "tlsPrivateKeyFile": cp.File("kubelet-server.key"),
		"address": "0.0.0.0", "port": kubeletPort, "healthzBindAddress": "127.0.0.1", "healthzPort": kubeletHealthPort,
		"clusterDNS": []string{dnsIP}, "clusterDomain": controlplane.Domain,
		"resolvConf":               s.State.run("resolv.conf"),
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/", "failCgroupV1": false, "failSwapOn": false,
		"volumePluginDir": s.State.run("kubelet", "plugins-exec"), "podLogsDir": s.State.run("pods"),
		"serializeImagePulls": false,
		// Pods must not be evicted because the machine's disk is full.
		"evictionHard":                object{"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
	})
}

func (s *supervisor) configureProxy() error {
	type object = map[string]any
	return writeYAML(s.State.run("kube-proxy.yaml"), object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "iptables", "clusterCIDR": podCIDR, "hostnameOverride": nodeName,
		"clientConnection":   object{"kubeconfig": s.controlPlane().Kubeconfig("kube-proxy")},
		"healthzBindAddress": fmt.Sprintf("127.0.0.1:%d", proxyHealthPort),
		// Connection tracking belongs to the whole machine, so its settings stay as they are.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"iptables":  object{"minSyncPeriod": "100ms"},
	})
}

func (s *supervisor) configureDNS() error {
	// Two zones, because CoreDNS orders plugins by itself, and template comes before kubernetes.
	return write(s.State.run("Corefile"), fmt.Appendf(nil, `%[3]s:53 in-addr.arpa:53 ip6.arpa:53 {
	bind %[1]s
	errors
	ready 127.0.0.1:%[2]d
	kubernetes %[3]s in-addr.arpa ip6.arpa {
		kubeconfig %[4]s
		pods insecure
		ttl 5
	}
	loadbalance
}

# There is nothing outside: say so at once.
.:53 {
	bind %[1]s
	errors
	template ANY ANY {
		rcode NXDOMAIN
	}
}
`, nodeIP, dnsReadyPort, controlplane.Domain, s.controlPlane().Kubeconfig("coredns")))
}

// awaitNode waits until pods can be scheduled: the node is ready, and the controllers have removed its taints.
func (s *supervisor) awaitNode(ctx context.Context) error {
	api, err := s.api()
	if err != nil {
		return err
	}
	for {
		var node struct {
			Spec struct {
				Taints []struct{ Key, Effect string }
			}
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		err := api.get(ctx, "/api/v1/nodes/"+nodeName, &node)
		var waiting []string
		if err != nil {
			waiting = append(waiting, err.Error())
		}
		ready := false
		for _, c := range node.Status.Conditions {
			if c.Type == "Ready" {
				ready = c.Status == "True"
				waiting = append(waiting, c.Message)
			}
		}
		for _, t := range node.Spec.Taints {
			ready = false
			waiting = append(waiting, t.Key)
		}
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the node: %w: %s", ctx.Err(), strings.Join(waiting, "; "))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func writeYAML(path string, value any) error {
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("configuring the platform: %w", err)
	}
	return write(path, data)
}

// writePassword writes a password file as Apache's htpasswd does.
func writePassword(path, user, password string) error {
	// The cheapest hash, because it is checked with every request. Only root can read the file, and it is removed with the
	// platform.
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return fmt.Errorf("configuring the platform: %w", err)
	}
	return write(path, fmt.Appendf(nil, "%s:%s\n", user, hash))
}
