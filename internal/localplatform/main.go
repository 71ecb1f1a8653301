//go:build linux

package localplatform

import (
	"fmt"
	"os"
)

// The platform's own processes, each this program again:
//
//	keeper      on the host: the lock, the listeners, the control group; undoes what the kernel does not undo
//	init        the first process of the namespaces: mounts, interfaces; reaps orphans
//	supervisor  starts the parts and ends everything when one of them ends
const (
	roleVariable = "AKSFLOW_PLATFORM_ROLE"

	keeperRole     = "keeper"
	initRole       = "init"
	supervisorRole = "supervisor"
)

// Main runs one of the platform's own processes and does not return, when the program was started again as that; else it
// returns at once. Call it first thing in main or TestMain of a program that calls [Up].
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
