// Package cgroup puts a tree of processes into control groups with a name of its own, so that all of its processes can be
// found by that name, even when their parents have ended. It supports version 1 (a hierarchy for each controller) and
// version 2 (one hierarchy).
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// root is the directory where hierarchies are mounted, by the machine and by Mount.
const root = "/sys/fs/cgroup"

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	Mountpoint string
	// Options that mount it: "cpu,cpuacct", "name=systemd". Empty for version 2.
	Options string
}

// Hierarchies returns the hierarchies that the machine mounts: those of version 1 if one has a controller, else that of
// version 2.
func Hierarchies() ([]Hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("looking for control groups: %w", err)
	}
	defer f.Close()
	var one, two []Hierarchy
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// ID parent major:minor root MOUNTPOINT options [tags…] - TYPE source OPTIONS
		mount, super, ok := strings.Cut(lines.Text(), " - ")
		fields, kinds := strings.Fields(mount), strings.Fields(super)
		if !ok || len(fields) < 5 || len(kinds) < 3 {
			continue
		}
		switch kinds[0] {
		case "cgroup":
			var bind []string
			for option := range strings.SplitSeq(kinds[2], ",") {
				// An option that is not a mount flag is a controller or the hierarchy's name.
				if !slices.Contains([]string{"rw", "ro", "xattr", "clone_children", "noprefix"}, option) &&
					!strings.HasPrefix(option, "release_agent=") {
					bind = append(bind, option)
				}
			}
			one = append(one, Hierarchy{Mountpoint: fields[4], Options: strings.Join(bind, ",")})
		case "cgroup2":
			two = append(two, Hierarchy{Mountpoint: fields[4]})
		}
	}
	for _, h := range one {
		if !strings.HasPrefix(h.Options, "name=") {
			return one, nil
		}
	}
	if len(two) == 0 {
		return nil, fmt.Errorf("no control groups are mounted at %s: containers need them", root)
	}
	return two[:1], nil
}

// Group is the control group with one name in every hierarchy.
type Group struct {
	name        string
	hierarchies []Hierarchy
}

// New returns the group with a name. It does not make it.
func New(name string) (*Group, error) {
	h, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	return &Group{name, h}, nil
}

func (g *Group) dir(h Hierarchy) string { return filepath.Join(h.Mountpoint, g.name) }

// Create makes the group and enables every controller for groups below it.
func (g *Group) Create() error {
	for _, h := range g.hierarchies {
		if h.Options == "" {
			if err := delegate(h.Mountpoint); err != nil {
				return fmt.Errorf("making the control group %s: %w", g.name, err)
			}
		}
		if err := os.MkdirAll(g.dir(h), 0o755); err != nil {
			return fmt.Errorf("making the control group %s: %w", g.name, err)
		}
		if !slices.Contains(strings.Split(h.Options, ","), "cpuset") {
			continue
		}
		// A new group of version 1 has no processors and no memory, and accepts no process without them.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(h.Mountpoint, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(g.dir(h), file), all, 0o644)
			}
			if err != nil {
				return fmt.Errorf("making the control group %s: %w", g.name, err)
			}
		}
	}
	return nil
}

// Enter moves the calling process into the group. Processes that it starts later are in the group, too.
func (g *Group) Enter() error {
	for _, h := range g.hierarchies {
		if err := os.WriteFile(filepath.Join(g.dir(h), "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("entering the control group %s: %w", g.name, err)
		}
	}
	return nil
}

// Remove ends every process in the group and in those below it, and removes the groups. A group that does not exist is not
// an error.
func (g *Group) Remove(ctx context.Context) error {
	for {
		left, err := g.kill()
		if err == nil && !left {
			if err = g.rmdir(); err == nil {
				return nil
			}
		}
		// A killed process stays in its group until the kernel has removed it.
		select {
		case <-ctx.Done():
			return fmt.Errorf("removing the control group %s: %w: %w", g.name, ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill kills the processes of the group and reports whether there were any. Every hierarchy holds the same processes.
func (g *Group) kill() (found bool, err error) {
	err = walk(g.dir(g.hierarchies[0]), func(dir string) error {
		pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return err
		}
		for line := range strings.FieldsSeq(string(pids)) {
			// 0 is a process outside of this PID namespace; the platform has none.
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				found = true
				_ = syscall.Kill(pid, syscall.SIGKILL) // an error means that it has ended
			}
		}
		return nil
	})
	return found, err
}

func (g *Group) rmdir() error {
	for _, h := range g.hierarchies {
		if err := walk(g.dir(h), syscall.Rmdir); err != nil {
			return err
		}
	}
	return nil
}

// walk calls f for a directory and those below it, the deepest first. A directory that is removed meanwhile is not an error.
func walk(dir string, f func(dir string) error) error {
	entries, err := os.ReadDir(dir)
	if err == nil {
		for _, e := range entries {
			if e.IsDir() {
				if err := walk(filepath.Join(dir, e.Name()), f); err != nil {
					return err
				}
			}
		}
		err = f(dir)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// delegate enables every controller of dir for the groups directly below it, in a hierarchy of version 2.
func delegate(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(available)) {
		// One at a time, because some kernels list a controller that cannot be enabled, and that must not prevent the rest.
		// The kubelet names a missing controller.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
	return nil
}

// Mount mounts the machine's hierarchies over [root] as the cgroup namespace of the calling process shows them: the group
// that the process was in when the namespace was made is the root.
func Mount(hierarchies []Hierarchy) error {
	if len(hierarchies) == 1 && hierarchies[0].Options == "" {
		if err := unix.Mount("cgroup2", root, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mounting control groups: %w", err)
		}
		return leaf()
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mounting control groups: %w", err)
	}
	for _, h := range hierarchies {
		name := strings.TrimPrefix(h.Options, "name=")
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("mounting control groups: %w", err)
		}
		if err := unix.Mount("cgroup", dir, "cgroup", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.Options); err != nil {
			return fmt.Errorf("mounting the control groups of %s: %w", name, err)
		}
		// Programs look for /sys/fs/cgroup/cpu even if cpu and cpuacct share a hierarchy.
		if controllers := strings.Split(name, ","); len(controllers) > 1 {
			for _, controller := range controllers {
				if err := os.Symlink(name, filepath.Join(root, controller)); err != nil {
					return fmt.Errorf("mounting control groups: %w", err)
				}
			}
		}
	}
	return nil
}

// leaf moves the processes of the root group into a group of their own, because in version 2 a group that passes controllers
// on must not have processes.
func leaf() error {
	dir := filepath.Join(root, "platform")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making a control group: %w", err)
	}
	pids, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("moving processes to their control group: %w", err)
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0o644); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("moving processes to their control group: %w", err)
		}
	}
	return delegate(root)
}
