package embedded

import (
	"fmt"
	"path/filepath"

	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/tool"
)

// shimName is the shim's file name, and the name under which BuildKit asks for its directory.
const shimName = "aksflow-shim"

// findShim returns the path of the shim's own file: BuildKit takes a symbolic link as what it is, and no container could follow
// it.
func findShim() (string, error) {
	found, err := tool.Find(shimName, "")
	if err != nil {
		return "", err
	}
	shim, err := filepath.EvalSymlinks(found)
	if err == nil && filepath.Base(shim) != shimName {
		err = fmt.Errorf("%s is a link to %s: the file itself has to be called %s", found, shim, shimName)
	}
	return shim, err
}

// shimState holds the shim. Steps depend on its content, not on where or when it was read.
func shimState(e *Engine) llb.State {
	return llb.Local(shimName,
		llb.SessionID(e.session.ID()),
		llb.IncludePatterns([]string{shimName}),
		llb.SharedKeyHint(shimName),
		llb.WithCustomName(progress.InternalPrefix+"shim"))
}
