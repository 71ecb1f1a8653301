//go:build linux

// Package server is the local platform: it starts the parts that package localplatform describes, and ends them. The
// program aksflow-platform is made of it.
//
// Everything runs in namespaces of its own: processes, mounts, network, IPC and host name. The host sees a few loopback
// listeners and one process tree. It gets no interface, route, iptables rule, mount or kernel setting. When the first
// process of the tree dies, the kernel ends the rest and removes mounts and interfaces. Control groups and a lock file
// remain; the next [Up] or [Down] finds them by name and removes them.
//
// Linux's control groups may be of version 1 or 2.
//
// A listener's address means the same inside and outside the namespaces: `localhost:5000/vote` is one registry for the
// developer's push, for the kubelet's pull and for Argo CD.
package server

import (
	"fmt"
	"os"
)

// The platform's own processes. Each is this program, started again:
//
//	keeper      on the host: holds the lock, the listeners and the control group; removes what the kernel leaves behind
//	init        the first process of the namespaces: makes mounts and interfaces; reaps orphans
//	supervisor  starts the parts, and ends everything when one of them ends
const (
	roleVariable = "AKSFLOW_PLATFORM_ROLE"

	keeperRole     = "keeper"
	initRole       = "init"
	supervisorRole = "supervisor"
)

// Main runs one of the platform's own processes and does not return, if the program was started again as one. Otherwise
// it returns at once. Call it first thing in main or TestMain of a program that calls [Up].
func Main() {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	_ = os.Unsetenv(roleVariable) // not for children
	var err error
	switch role {
	case keeperRole:
		err = keep()
	case initRole:
		err = initialize()
	case supervisorRole:
		err = supervise()
	default:
		err = fmt.Errorf("the variable %s is for the local platform's own use: unset it", roleVariable)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
	os.Exit(0)
}
