package buildkitd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// Check returns what a daemon needs of this machine, and whether it is there. It starts nothing.
func Check(o Options) []delivery.Check {
	checks := checkRights()
	if programs, err := findPrograms(o); err == nil {
		checks = append(checks, delivery.Passed("programs", strings.Join([]string{programs.buildkitd, programs.runc, programs.iptables, programs.cni}, ", ")))
	} else {
		checks = append(checks, delivery.NewCheck("programs", "", err))
	}
	return append(checks, checkKernel(), checkDisk(o.Dir))
}

// checkRights looks for what lets this user make containers.
func checkRights() []delivery.Check {
	if os.Geteuid() == 0 {
		return []delivery.Check{delivery.Passed("root", "this user may make containers")}
	}
	if err := checkUser(); err != nil {
		return []delivery.Check{delivery.NewCheck("rootless", "", err)}
	}
	checks := []delivery.Check{delivery.Passed("rootless", "this user may make containers in a user namespace; they have no /sys and no limits of memory and CPU")}
	if sysctl(appArmor) == "1" {
		checks = append(checks, delivery.Check{Name: "rootless", Status: delivery.CheckWarning, Message: appArmorSays, Remedy: appArmorRemedy})
	}
	if SharedNetwork() {
		checks = append(checks, delivery.Check{
			Name: "rootless", Status: delivery.CheckWarning, Remedy: "sudo chmod 666 " + tunnel,
			Message: "this user cannot open " + tunnel + ", so all containers have the machine's network, where two services cannot listen on one port",
		})
	}
	return checks
}

// checkKernel looks for what containers are made of.
func checkKernel() delivery.Check {
	var missing []string
	for what, path := range map[string]string{
		"network namespaces (CONFIG_NET_NS)": "/proc/self/ns/net", "process namespaces (CONFIG_PID_NS)": "/proc/self/ns/pid",
		"mount namespaces": "/proc/self/ns/mnt", "control groups, mounted at /sys/fs/cgroup": "/sys/fs/cgroup",
	} {
		if entries, err := os.Stat(path); err != nil || entries == nil {
			missing = append(missing, what)
		}
	}
	if systems, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(systems), "\toverlay\n") {
		return delivery.Check{
			Name: "kernel", Status: delivery.CheckWarning, Message: "overlayfs is not loaded: if it cannot be, each step of a build copies all files",
			Remedy: "modprobe overlay",
		}
	}
	if len(missing) > 0 {
		return delivery.NewCheck("kernel", "", fmt.Errorf("it lacks %s", strings.Join(missing, ", ")))
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return delivery.NewCheck("kernel", "", err)
	}
	return delivery.Passed("kernel", "Linux "+unix.ByteSliceToString(name.Release[:]))
}

// The free space below which a build may end with "no space left on device", and below which it will.
const (
	littleSpace = 5 << 30
	noSpace     = 512 << 20
)

// checkDisk looks at the file system that holds the cache.
func checkDisk(dir string) delivery.Check {
	var stat unix.Statfs_t
	at := dir
	err := unix.Statfs(at, &stat)
	for errors.Is(err, unix.ENOENT) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &stat)
	}
	if err != nil {
		return delivery.NewCheck("disk", "", fmt.Errorf("the file system of %s: %w", dir, err))
	}
	free := stat.Bavail * uint64(stat.Bsize)
	check := delivery.Passed("disk", fmt.Sprintf("%.1f GiB are free for %s", float64(free)/(1<<30), dir))
	if free < littleSpace {
		check.Status, check.Remedy = delivery.CheckWarning, "free some space, or choose another directory with --state"
	}
	if free < noSpace {
		check.Status = delivery.CheckFailed
	}
	return check
}

// InUse reports whether a process uses the daemon of a state directory.
func InUse(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "users.lock"), os.O_RDWR, 0o600)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}
