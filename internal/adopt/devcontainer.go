package adopt

import (
	_ "embed"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/schema"
)

// container is a development container, as editors start it. It is privileged because the engine and the local platform start
// containers in it, and keeps their state on a volume because they cannot on a container's own layers. aksflow is built from
// its source in it.
//
//go:embed devcontainer.json
var container string

// containerFile is where editors look for it.
const containerFile = ".devcontainer/devcontainer.json"

// devContainer is the development container of a repository.
func devContainer(name string) string {
	return strings.NewReplacer(`"NAME"`, strconv.Quote(name), "SCHEMA", schema.URL).Replace(container)
}
