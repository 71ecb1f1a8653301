//go:build linux

// Package buildkittest gives tests a BuildKit that is not aksflow's own, as a team has one on a build machine.
package buildkittest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aksflow/aksflow/internal/tool"
)

// startTime is how long a daemon may take until it listens.
const startTime = time.Minute

// Options says how the daemon differs from one without a configuration.
type Options struct {
	Network bool     // each container has a network of its own; else all share the daemon's
	Toml    string   // more of buildkitd.toml
	Args    []string // more of the command line
}

// Start starts a daemon, and returns its address. It ends with the test, and with it all that it had on the machine.
func Start(t testing.TB, o Options) (address string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("BuildKit's daemon needs root")
	}
	daemon, err := tool.Find("buildkitd", "")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "buildkit-*") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, config, toml := filepath.Join(dir, "buildkitd.sock"), filepath.Join(dir, "buildkitd.toml"), o.Toml
	if o.Network {
		toml += network(t, dir)
	}
	if err := os.WriteFile(config, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	// In namespaces of its own, so that containers and mounts end with it.
	cmd := exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		daemon, "--config", config, "--root", filepath.Join(dir, "root"), "--addr", "unix://" + socket}, o.Args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // it leaves an empty directory for each file that it has mounted
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-ended
	})
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return "unix://" + socket
		}
		select {
		case <-ended:
			t.Fatalf("buildkitd ended:\n%s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("buildkitd does not listen on %s", socket)
		}
	}
}

// network writes the configuration of a network that has no way out, and returns what names it in buildkitd.toml.
func network(t testing.TB, dir string) (toml string) {
	t.Helper()
	bridge := fmt.Sprintf("bkt%d", os.Getpid())
	data, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0", "name": bridge,
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": bridge, "isDefaultGateway": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": filepath.Join(dir, "ipam"),
				"ranges": []any{[]any{map[string]any{"subnet": "10.191.255.0/24"}}},
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "network.conflist")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", bridge).Run() })
	return fmt.Sprintf("[worker.oci]\nnetworkMode = \"cni\"\ncniConfigPath = %q\ncniBinaryPath = \"/usr/lib/cni\"\n", list)
}
