// Command argocd is the part of Argo CD that the local platform runs for every delivery by pull: the controllers, and the
// repository server with the program that gives git its password. Argo CD's own program holds its API server and its command
// line too, and takes more than half as long again to compile; the API server is built from it, as argocd-server.
//
// The variable ARGOCD_BINARY_NAME, or else the name that it is started under, says which of its programs it is, as for Argo
// CD's own: the repository server starts itself as argocd-git-ask-pass that way.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	applicationcontroller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	applicationsetcontroller "github.com/argoproj/argo-cd/v3/cmd/argocd-applicationset-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
)

// programs are constructors, not commands: several register the same flags.
var programs = map[string]func() *cobra.Command{
	"argocd-application-controller":    applicationcontroller.NewCommand,
	"argocd-applicationset-controller": applicationsetcontroller.NewCommand,
	"argocd-git-ask-pass":              gitaskpass.NewCommand,
	"argocd-repo-server":               reposerver.NewCommand,
}

func main() {
	program, ok := programs[cmp.Or(os.Getenv("ARGOCD_BINARY_NAME"), filepath.Base(os.Args[0]))]
	if !ok {
		fmt.Fprintf(os.Stderr, "argocd: name the program to run in the variable ARGOCD_BINARY_NAME: %s\n",
			strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
		os.Exit(2)
	}
	if err := program().Execute(); err != nil {
		os.Exit(1)
	}
}
