package embedded

import (
	"github.com/moby/buildkit/client/llb"

	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
)

// shimName is the shim's file name, and the name under which BuildKit asks for its directory.
const shimName = "aksflow-shim"

// shimState holds the shim. Steps depend on its content, not on where or when it was read.
func shimState(e *Engine) llb.State {
	return llb.Local(shimName,
		llb.SessionID(e.session.ID()),
		llb.IncludePatterns([]string{shimName}),
		llb.SharedKeyHint(shimName),
		llb.WithCustomName(progress.InternalPrefix+"shim"))
}
