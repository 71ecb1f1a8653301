package delivery

import "errors"

// Reason is one cause of a failure, for programs: an object that did not get ready, a test that failed.
type Reason struct {
	Object  string   `json:"object,omitempty"` // Deployment/vote, or a test's name
	Reason  string   `json:"reason,omitempty"` // one word, such as CrashLoopBackOff
	Message string   `json:"message"`          // as a person reads it
	Pod     string   `json:"pod,omitempty"`    // the pod that has the problem
	Logs    []string `json:"logs,omitempty"`   // the last lines of the container that failed
	File    string   `json:"file,omitempty"`   // where it stands
	Line    int      `json:"line,omitempty"`   // 1-based
}

// explained is an error whose causes are known apart.
type explained struct {
	error
	reasons []Reason
}

func (e explained) Unwrap() error { return e.error }

// WithReasons returns err with its causes, for [Reasons] to find. Without causes, and for nil, it returns err.
func WithReasons(err error, reasons []Reason) error {
	if err == nil || len(reasons) == 0 {
		return err
	}
	return explained{err, reasons}
}

// Reasons returns the causes of err: those that it was given with [WithReasons], of each error that was joined; where
// there are none, the error's own text. It is nil for nil.
func Reasons(err error) []Reason {
	var e explained
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e):
		return []Reason{{Message: err.Error()}}
	}
	switch wrapper := err.(type) {
	case explained:
		return wrapper.reasons
	case interface{ Unwrap() []error }:
		var all []Reason
		for _, joined := range wrapper.Unwrap() {
			all = append(all, Reasons(joined)...)
		}
		return all
	}
	return Reasons(errors.Unwrap(err))
}
