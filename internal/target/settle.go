package target

import (
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Settle returns the reference that an environment has now, in place of the next one, where that is the same image and only a
// commit that changed nothing of the image is between them: pods are not replaced for a tag. The tag of a release is always
// the next one's.
func Settle(now, next ref.Ref) ref.Ref {
	line, ofCommit := gitflow.Line(next.Tag)
	if !ofCommit || next.Digest == "" || now.Digest != next.Digest || !now.SameRepository(next) {
		return next
	}
	if before, _ := gitflow.Line(now.Tag); now.Tag == "" || before == line {
		return now
	}
	return next
}
