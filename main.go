// Command aksflow delivers an application to Azure Kubernetes Service.
package main

import (
	"os"

	// The certificates of Mozilla's program, for a container that has none of its own.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/aksflow/aksflow/internal/cli"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() { os.Exit(cli.Execute(os.Args[1:], version)) }
