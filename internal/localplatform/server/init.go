//go:build linux

package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
)

// Addresses inside the platform's network namespace. Outside of it they may belong to other machines.
const (
	nodeIP      = "10.88.0.1"
	podCIDR     = "10.244.0.0/16"
	serviceCIDR = "10.96.0.0/16"
	// balancerCIDR has a load balancer's address for each address of serviceCIDR.
	balancerCIDR = "10.97.0.0/16"
	dnsIP        = "10.96.0.10"
	nodeName     = "aksflow"
)

// initialize is the first process of the namespaces. It makes their mounts and interfaces, starts the supervisor in a
// control group namespace, reaps orphans, and ends when the supervisor ends. The kernel then ends all other processes.
func initialize() error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	group, err := cgroup.New(c.State.group())
	if err != nil {
		return err
	}
	if err := group.Enter(); err != nil {
		return err
	}
	if err := c.mounts(); err != nil {
		return err
	}
	if err := network(); err != nil {
		return fmt.Errorf("making the platform's network: %w", err)
	}
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("naming the platform's node: %w", err)
	}

	supervisor := again(supervisorRole)
	supervisor.Env = append(supervisor.Env, environment()...)
	supervisor.Stdout, supervisor.Stderr = os.Stdout, os.Stderr
	for fd := eventsFD; fd < listenersFD+len(c.listeners()); fd++ {
		supervisor.ExtraFiles = append(supervisor.ExtraFiles, os.NewFile(uintptr(fd), "inherited"))
	}
	supervisor.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}
	if err := supervisor.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	for _, f := range supervisor.ExtraFiles {
		f.Close()
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for the supervisor: %w", err)
		case pid == supervisor.Process.Pid && status.Signaled():
			return fmt.Errorf("the supervisor was ended by the signal %s", status.Signal())
		case pid == supervisor.Process.Pid && status.ExitStatus() != 0:
			return fmt.Errorf("the supervisor ended with status %d", status.ExitStatus())
		case pid == supervisor.Process.Pid:
			return nil
		}
	}
}

// loadConfig reads the file that the keeper wrote into the working directory.
func loadConfig() (*config, error) {
	c := new(config)
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s, err := openState(dir)
	if err != nil {
		return nil, err
	}
	return c, localplatform.ReadJSON(s.configFile(), c)
}

// masked lists directories of the host that servers write to by a fixed path. Inside, each is covered by an empty one.
var masked = []string{"/run", "/var/log", "/var/lib"}

// tunables are kernel settings that the kubelet requires. They belong to the whole machine, so they are not changed: the
// kubelet sees files with the required values instead.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

func (c *config) mounts() error {
	// Private, so that the host sees none of these mounts. They are shared again below, because what the kubelet mounts
	// for a pod must reach the pod's containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separating the platform's mounts: %w", err)
	}
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"mqueue", "/dev/mqueue"}} {
		err := unix.Mount(m.kind, m.dir, m.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		if err != nil && (m.kind != "mqueue" || !errors.Is(err, unix.ENOENT)) {
			return fmt.Errorf("mounting %s: %w", m.dir, err)
		}
	}
	if err := c.mask(); err != nil {
		return err
	}
	dir := "/run/aksflow/tunables"
	for name, value := range tunables {
		file, target := filepath.Join(dir, name), filepath.Join("/proc/sys", name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, []byte(value+"\n"), 0o644)
		}
		if err == nil {
			err = unix.Mount(file, target, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("shielding the kernel setting %s: %w", name, err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("separating the platform's mounts: %w", err)
	}
	return nil
}

// mask covers the masked directories, and shows those below them that the platform needs.
func (c *config) mask() error {
	keep := map[string]int{}
	for _, dir := range append(strings.Split(os.Getenv("PATH"), ":"), c.State.Path(), c.CNI) {
		for _, m := range masked {
			if dir != "" && strings.HasPrefix(dir, m+"/") {
				fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
				if err != nil {
					return fmt.Errorf("opening %s: %w", dir, err)
				}
				defer unix.Close(fd)
				keep[dir] = fd
			}
		}
	}
	for _, dir := range masked {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("covering %s: %w", dir, err)
		}
	}
	for dir, fd := range keep {
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), dir, "", unix.MS_BIND|unix.MS_REC, "")
		}
		if err != nil {
			return fmt.Errorf("showing %s: %w", dir, err)
		}
	}
	// The working directory is still the covered one.
	return os.Chdir(c.State.Path())
}

// network gives the namespace loopback and a node address. Traffic to Services goes through the node's interface, where
// kube-proxy's rules send it to pods. All other addresses are unreachable, so that connections fail at once.
func network() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	// One end of a veth pair: every kernel that runs containers has this device.
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "node"}, PeerName: "node-peer"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("making an interface: %w", err)
	}
	for _, name := range []string{"node", "node-peer"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	node, err := netlink.LinkByName("node")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeIP + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(node, address); err != nil {
		return err
	}
	for _, cidr := range []string{serviceCIDR, balancerCIDR} {
		_, services, err := net.ParseCIDR(cidr)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: node.Attrs().Index, Dst: services, Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("routing to Services: %w", err)
		}
	}
	_, everything, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: everything, Type: unix.RTN_UNREACHABLE}); err != nil {
		return fmt.Errorf("denying what is outside: %w", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	return nil
}
