package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// unified is where systems that use version 1 mount version 2, without controllers.
const unified = "/sys/fs/cgroup/unified"

func TestRemove(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	machines, err := Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]Hierarchy{"of this machine": machines}
	if _, err := os.Stat(filepath.Join(unified, "cgroup.procs")); err == nil {
		tests["version 2"] = []Hierarchy{{Mountpoint: unified}}
	}
	for name, hierarchies := range tests {
		t.Run(name, func(t *testing.T) {
			g := &Group{name: fmt.Sprintf("aksflow-test-%d", os.Getpid()), hierarchies: hierarchies}
			t.Cleanup(func() {
				if err := g.Remove(context.Background()); err != nil {
					t.Error(err)
				}
			})
			for range 2 { // the second call finds the group of the first
				if err := g.Create(); err != nil {
					t.Fatal(err)
				}
			}
			below := filepath.Join(g.dir(hierarchies[0]), "below")
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			enter := "echo $$ > " + filepath.Join(below, "cgroup.procs")
			sleep := exec.Command("sh", "-c", enter+" && echo in && exec sleep 600")
			out, err := sleep.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := sleep.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			removed := make(chan error, 1)
			go func() { removed <- g.Remove(t.Context()) }()
			if err := sleep.Wait(); err == nil || err.Error() != "signal: killed" {
				t.Errorf("the process in the group ended: %v", err)
			}
			if err := <-removed; err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(g.dir(hierarchies[0])); !os.IsNotExist(err) {
				t.Errorf("the group is still there: %v", err)
			}
		})
	}
}
