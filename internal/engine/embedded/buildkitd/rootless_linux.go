package buildkitd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/tool"
)

// Without root, rootlesskit makes the namespaces that the daemon lives in: of users, in which the caller is root; of
// processes and mounts, as root has them; and of the network, in which only the containers are. The daemon itself stays in
// the machine's network, and so reaches the registries that aksflow reaches, those on 127.0.0.1 too.

// rootlessDir is rootlesskit's own part of the state directory. Its name is short because it holds sockets.
const rootlessDir = "rk"

// longestSocket is the longest path of a socket, below the state directory.
func longestSocket() string {
	if os.Geteuid() == 0 {
		return SocketPath("")
	}
	return filepath.Join(rootlessDir, "gvisortapvsock", "tap.sock")
}

// rootless returns the command that runs a command in a state directory's namespaces.
func rootless(rootlesskit, dir string, command []string) []string {
	args := []string{rootlesskit, "--state-dir", filepath.Join(dir, rootlessDir), "--pidns",
		// Where iptables, runc and the network's plugins write.
		"--copy-up", "/run", "--copy-up", "/var/lib"}
	if !SharedNetwork() {
		args = append(args, "--net", "gvisor-tap-vsock", "--detach-netns", "--disable-host-loopback")
	}
	return append(args, command...)
}

// tunnel is the device by which a network namespace of an ordinary user is connected to the machine's network.
const tunnel = "/dev/net/tun"

// SharedNetwork reports whether the daemon's containers would have no network but the machine's, for want of the device that
// connects another one.
func SharedNetwork() bool {
	return os.Geteuid() != 0 && unix.Access(tunnel, unix.R_OK|unix.W_OK) != nil
}

// What the kernel may forbid, as files below /proc/sys.
const (
	cloneSetting = "kernel/unprivileged_userns_clone"
	countSetting = "user/max_user_namespaces"
	appArmor     = "kernel/apparmor_restrict_unprivileged_userns"
)

const (
	appArmorSays   = "AppArmor restricts user namespaces to programs that have a profile for them (sysctl kernel.apparmor_restrict_unprivileged_userns is 1)"
	appArmorRemedy = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or write a profile with the rule `userns,` for rootlesskit, or run aksflow with sudo"
)

// otherWays ends an error of a user who cannot make containers.
const otherWays = "or run aksflow with sudo, name a BuildKit with BUILDKIT_HOST, or use a Dagger engine (--engine dagger)"

// sysctl returns a setting of the kernel; "" if it has no such one.
func sysctl(name string) string {
	data, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// checkUser returns an error that says why this user cannot make containers.
func checkUser() error {
	if os.Geteuid() == 0 {
		return nil
	}
	for _, name := range []string{cloneSetting, countSetting} {
		if sysctl(name) == "0" {
			setting := strings.ReplaceAll(name, "/", ".")
			return fmt.Errorf("the embedded engine makes containers, and without root it needs user namespaces, which the kernel's setting %s=0 forbids: sudo sysctl -w %s=%s, %s",
				setting, setting, map[string]string{cloneSetting: "1", countSetting: "28633"}[name], otherWays)
		}
	}
	return checkIDs()
}

// fewestIDs is how many users and groups an image may have: Debian's nobody is 65534.
const fewestIDs = 65536

// checkIDs returns an error if the user has no users and groups of its own for the files of images. With its own ID alone not
// even a base image could be unpacked: files of other groups (/etc/shadow) are in each of them.
func checkIDs() error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("who runs aksflow: %w", err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if subIDs(file, me) >= fewestIDs {
			continue
		}
		return fmt.Errorf("the embedded engine makes containers, and without root it needs %d user and group IDs for their files; %s has none for %s: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s, %s",
			fewestIDs, file, me.Username, me.Username, otherWays)
	}
	return nil
}

// subIDs is how many IDs a user has. getsubids knows those of a directory service, too.
func subIDs(file string, me *user.User) int {
	listed, err := os.ReadFile(file)
	if err != nil {
		listed = nil
	}
	if program, err := tool.Find("getsubids", "uidmap"); err == nil {
		args := []string{me.Username}
		if strings.HasSuffix(file, "subgid") {
			args = []string{"-g", me.Username}
		}
		if out, err := exec.Command(program, args...).Output(); err == nil {
			return countIDs(string(out), nil)
		}
	}
	return countIDs(string(listed), []string{me.Username, me.Uid})
}

// countIDs adds up ranges, one a line: USER:FIRST:COUNT as in /etc/subuid, of the users that are named; or N: USER FIRST COUNT
// as getsubids prints them, of all users.
func countIDs(text string, users []string) int {
	total := 0
	for line := range strings.Lines(text) {
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(": \t\n", r) })
		if users != nil && (len(fields) != 3 || !slices.Contains(users, fields[0])) {
			continue
		}
		var count int
		if _, err := fmt.Sscan(fields[len(fields)-1], &count); err == nil {
			total += count
		}
	}
	return total
}

// Remove deletes a state directory whose daemon does not run. Files of containers belong to users that only exist in the
// daemon's namespace.
func Remove(ctx context.Context, o Options) error {
	if os.Geteuid() == 0 {
		return os.RemoveAll(o.Dir)
	}
	if _, err := os.Stat(o.Dir); os.IsNotExist(err) {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, "content")); err != nil {
		return err
	}
	programs, err := findPrograms(o)
	if err != nil {
		return err
	}
	state, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, programs.rootlesskit, "--state-dir", state, "rm", "-rf", o.Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("deleting %s: %w\n%s", o.Dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removeTime bounds how long the deletion of a state directory takes.
const removeTime = 10 * time.Minute
