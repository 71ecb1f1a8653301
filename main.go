// Command aksflow delivers an application to Azure Kubernetes Service.
package main

import (
	"os"

	"github.com/aksflow/aksflow/internal/command"
	"github.com/aksflow/aksflow/test/platform"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	// The local platform's own processes are this program started again.
	platform.Main()
	os.Exit(command.Execute(os.Args[1:], version))
}
