package progress

import (
	"cmp"
	"errors"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"

	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// ErrNeedServices says that a step is not cached and wants services that do not run.
var ErrNeedServices = errors.New("a step needs its services")

// Explain gives an error of a failed step the step's output.
func (w *Watcher) Explain(err error) error {
	var exit *gatewaypb.ExitError
	if !errors.As(err, &exit) {
		return failure.Plain(err)
	}
	if exit.ExitCode == contract.NeedServices {
		return ErrNeedServices
	}
	failed := &failure.ExecError{ExitCode: int(exit.ExitCode)}
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		v := w.Vertex(vertex.Digest)
		failed.Stdout, failed.Stderr = v.Stdout.String(), v.Stderr.String()
		failed.Place = cmp.Or(failure.Place(err), v.Name)
	}
	var solve *errdefs.SolveError
	if errors.As(err, &solve) && solve.Op.GetExec() != nil {
		failed.Cmd = solve.Op.GetExec().GetMeta().GetArgs()
	}
	if cmd, ok := failure.UserCommand(failed.Cmd); ok {
		failed.Cmd, failed.Place = cmd, ""
		if failed.ExitCode == contract.UnexpectedSuccess {
			failed.ExitCode = 0
		}
	}
	return failed
}
