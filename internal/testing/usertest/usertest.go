//go:build linux

// Package usertest runs tests as a user without root, who exists for as long as the test runs and for nobody else.
package usertest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aksflow/aksflow/internal/tool"
)

// The user. Its name and IDs are in an /etc that only its processes see.
const (
	name = "aksflow-tester"
	id   = 61234
	// firstID is the first of the IDs that it may give to its containers.
	firstID = 1_610_612_736
	idCount = 65536
)

// marker is the environment variable that says that a test runs as the user already.
const marker = "AKSFLOW_TEST_USER"

// Run calls as(t) as a user without root: the calling test runs once more, in another process of the test's program, whose
// environment has what env adds. Programs are copied to where the user may start them, and found there.
func Run(t *testing.T, programs []string, env map[string]string, as func(*testing.T)) {
	t.Helper()
	if os.Getenv(marker) != "" {
		as(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("makes a user, which needs root")
	}
	u := newUser(t, programs)
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-euc", u.script(), "sh",
		filepath.Join(u.dir, "test"), "-test.v", "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	cmd.Dir = u.home()
	cmd.Env = []string{
		marker + "=" + name, "HOME=" + u.home(), "USER=" + name, "TMPDIR=" + filepath.Join(u.dir, "tmp"), tool.Dir + "=" + filepath.Join(u.dir, "bin"),
		"PATH=" + filepath.Join(u.dir, "bin") + ":/usr/local/bin:/usr/bin:/bin",
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, key+"="+env[key])
	}
	t.Log("as a user without root:")
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, t.Output())
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Fatal("the test did not run as the user")
	}
}

// user is the user and its directory.
type user struct{ dir string }

func (u user) home() string { return filepath.Join(u.dir, "home") }

// newUser makes the user's directory: its home, the test's program, other programs, and what is different in its /etc.
func newUser(t *testing.T, programs []string) user {
	t.Helper()
	dir, err := os.MkdirTemp("", "user-*") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	u := user{dir}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	for _, sub := range []string{"bin", "etc", "work"} {
		must(os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	for _, sub := range []string{"home", "tmp"} {
		must(os.Mkdir(filepath.Join(dir, sub), 0o700))
		must(os.Chown(filepath.Join(dir, sub), id, id))
	}
	self, err := os.Executable()
	must(err)
	must(copyFile(self, filepath.Join(dir, "test")))
	for _, program := range programs {
		path, err := tool.Find(program, "")
		must(err)
		must(copyFile(path, filepath.Join(dir, "bin", program)))
	}
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", name, id, id, u.home()),
		"group":  fmt.Sprintf("%s:x:%d:", name, id),
		"subuid": fmt.Sprintf("%s:%d:%d", name, firstID, idCount),
		"subgid": fmt.Sprintf("%s:%d:%d", name, firstID, idCount),
	} {
		all, err := os.ReadFile(filepath.Join("/etc", file))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		must(os.WriteFile(filepath.Join(dir, "etc", file), append(all, line+"\n"...), 0o644))
	}
	return u
}

// script runs its arguments as the user, in a mount namespace of its own.
func (u user) script() string {
	return fmt.Sprintf(`mount -t overlay -o lowerdir=/etc,upperdir=%[1]s/etc,workdir=%[1]s/work overlay /etc
mknod -m 666 %[1]s/tun c 10 200 # which udev lets all users open
mount --bind %[1]s/tun /dev/net/tun
exec setpriv --reuid %[2]d --regid %[2]d --clear-groups --inh-caps=-all "$@"
`, u.dir, id)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
