package hostnet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// InUse lists the subnets that the host routes, except those on the bridge with that name.
func InUse(bridge string) ([]netip.Prefix, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseRoutes(f, bridge)
}

// MTU is the largest packet, in bytes, that leaves by the default route; 0 if there is none. Containers that send larger
// ones depend on routers that say so.
func MTU() int {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if r := strings.Fields(lines.Text()); len(r) >= 8 && r[1] == "00000000" && r[7] == "00000000" {
			if i, err := net.InterfaceByName(r[0]); err == nil {
				return i.MTU
			}
		}
	}
	return 0
}

// parseRoutes reads /proc/net/route: a heading, then a line a route, addresses in hexadecimal in the byte order of a
// little-endian machine.
//
//	Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
//	eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
func parseRoutes(r io.Reader, except string) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[0] == "Iface" || f[0] == except {
			continue
		}
		dst, err := hex.DecodeString(f[1])
		if err != nil || len(dst) != 4 {
			return nil, fmt.Errorf("/proc/net/route: destination %q", f[1])
		}
		mask, err := hex.DecodeString(f[7])
		if err != nil || len(mask) != 4 {
			return nil, fmt.Errorf("/proc/net/route: mask %q", f[7])
		}
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], binary.LittleEndian.Uint32(dst))
		ones := bits.OnesCount32(binary.LittleEndian.Uint32(mask))
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4(addr), ones).Masked())
	}
	return routes, lines.Err()
}

// rules are the iptables rules of a network, each as the table and what follows -A or -D. Forwarding is allowed
// explicitly because a Docker on the same host sets the chain's policy to DROP.
func (n Network) rules() [][]string {
	subnet := n.Subnet.String()
	comment := []string{"-m", "comment", "--comment", n.Bridge}
	return [][]string{
		append([]string{"nat", "POSTROUTING", "-s", subnet, "!", "-d", subnet, "-j", "MASQUERADE"}, comment...),
		append([]string{"filter", "FORWARD", "-s", subnet, "-i", n.Bridge, "-j", "ACCEPT"}, comment...),
		append([]string{"filter", "FORWARD", "-d", subnet, "-o", n.Bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"}, comment...),
	}
}

// Setup allows the network's traffic, after removing what an earlier engine left. The bridge itself is made by the CNI
// plugin when the first container comes.
func (n Network) Setup() error {
	if err := n.Teardown(); err != nil {
		return err
	}
	for _, r := range n.rules() {
		// Inserted first: a rule after a DROP of somebody else's is none.
		if err := iptables(append([]string{"-t", r[0], "-I", r[1], "1"}, r[2:]...)); err != nil {
			return err
		}
	}
	return nil
}

// Teardown removes the network's rules, its bridge and its cgroups. What is not there is no error; a cgroup with
// processes in it is.
func (n Network) Teardown() error {
	var errs []error
	for _, r := range n.rules() {
		rule := append([]string{"-t", r[0], "-C", r[1]}, r[2:]...)
		for iptables(rule) == nil {
			rule[2] = "-D"
			if err := iptables(rule); err != nil {
				errs = append(errs, err)
				break
			}
			rule[2] = "-C"
		}
	}
	errs = append(errs, n.deleteBridge(), n.deleteCgroups())
	return errors.Join(errs...)
}

// deleteCgroups removes the cgroup in cgroup v2's hierarchy, or in each of v1's.
func (n Network) deleteCgroups() error {
	const root = "/sys/fs/cgroup"
	v1, err := filepath.Glob(filepath.Join(root, "*", n.Cgroup))
	if err != nil {
		return err
	}
	var errs []error
	for _, top := range append(v1, filepath.Join(root, n.Cgroup)) {
		var dirs []string
		filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) { // children first; the files in them are not to be removed
			if err := removeCgroup(dir); err != nil {
				errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
				break // its parents will not go either
			}
		}
	}
	return errors.Join(errs...)
}

// dying is how long a process may take to leave its cgroup after it was killed.
const dying = 2 * time.Second

func removeCgroup(dir string) error {
	for deadline := time.Now().Add(dying); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(dir)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(deadline):
			return err
		}
	}
}

func (n Network) deleteBridge() error {
	if _, err := net.InterfaceByName(n.Bridge); err != nil {
		return nil // the only error that it has for a name is that there is none
	}
	fail := func(what string, err error) error {
		return fmt.Errorf("%s bridge %s: %w", what, n.Bridge, err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail("delete", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(n.Bridge)
	if err != nil {
		return fail("delete", err)
	}
	ifr.SetUint16(0) // no IFF_UP: only a bridge that is down can be deleted
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fail("take down", err)
	}
	name, err := unix.BytePtrFromString(n.Bridge)
	if err != nil {
		return fail("delete", err)
	}
	if err := ioctlPtr(s, unix.SIOCBRDELBR, name); err != nil && !errors.Is(err, unix.ENXIO) {
		return fail("delete", err)
	}
	return nil
}

func iptables(args []string) error {
	// -w: another program may hold the lock for a moment.
	cmd := exec.Command("iptables", append([]string{"-w"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("iptables %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
