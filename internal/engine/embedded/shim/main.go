//go:build linux

// Command aksflow-shim is the embedded engine's first process inside its containers, and inside the namespaces of its
// daemon. BuildKit's own executions return neither output nor exit code; under the shim they leave both in a mount.
//
// It is a program of its own, static and small, because it is an input of every execution: a new build of aksflow
// must not invalidate their cache. For the same reason it is built without version control stamps:
//
//	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/aksflow-shim ./internal/engine/embedded/shim
package main

import (
	"fmt"
	"os"
)

const usage = `aksflow-shim is started by aksflow:
  aksflow-shim exec   -out DIR -expect SUCCESS|FAILURE|ANY [-stdin FILE] [-stdout FILE] [-stderr FILE] [-key KEY] -- COMMAND...
  aksflow-shim serve  [-free PORT,...] -- COMMAND...
  aksflow-shim reach  PORT...
  aksflow-shim attend -- COMMAND...
  aksflow-shim check  -timeout DURATION -- COMMAND...
  aksflow-shim forward PORT...
  aksflow-shim changes BEFORE AFTER OUT
  aksflow-shim daemon -users FILE -idle DURATION -bridge NAME -subnet CIDR -cgroup NAME -- COMMAND...
`

func main() {
	var run func([]string) (int, error)
	if len(os.Args) > 1 {
		run = map[string]func([]string) (int, error){"exec": execute, "serve": serve, "reach": reach, "attend": attend, "check": check, "changes": changes, "forward": forward, "daemon": daemon}[os.Args[1]]
	}
	if run == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	code, err := run(os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "aksflow-shim:", err)
	}
	os.Exit(code)
}
