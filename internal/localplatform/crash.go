package localplatform

import (
	"fmt"
	"time"
)

// CrashError says that a platform ended that nobody ended.
type CrashError struct {
	State  string
	Time   time.Time // zero when it is not known
	Reason string    // which process ended how, with the end of its log
}

func (e *CrashError) Error() string {
	when := ""
	if !e.Time.IsZero() {
		when = " at " + e.Time.Format(time.TimeOnly)
	}
	return fmt.Sprintf("the local platform in %s stopped%s: %s\n`aksflow up` starts it again", e.State, when, e.Reason)
}
