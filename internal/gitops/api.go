package gitops

import (
	"context"
	"errors"
)

// Wait returns when the operator has applied the commit, or a later one, and every pod of every workload with the image
// runs its digest and is ready. It fails at once with the operator's own error, or the pods' reasons, when that cannot
// happen any more; when ctx ends, it says what is still missing.
func Wait(ctx context.Context, o WaitOptions) (*WaitResult, error) {
	return nil, errors.ErrUnsupported
}
