package delivery

import "errors"

// Reason is one cause of a failure, for programs: an object that did not get ready, a test that failed.
type Reason struct {
	Object    string   `json:"object,omitempty"` // Deployment/vote, or a test's name
	Reason    string   `json:"reason,omitempty"` // one word, such as CrashLoopBackOff
	Message   string   `json:"message"`          // as a person reads it
	Pod       string   `json:"pod,omitempty"`    // the pod that has the problem, and its container
	Container string   `json:"container,omitempty"`
	Logs      []string `json:"logs,omitempty"` // the last lines of the container that failed
	File      string   `json:"file,omitempty"` // where it stands
	Line      int      `json:"line,omitempty"` // 1-based
}

// explained is an error that knows its causes apart.
type explained interface {
	error
	Reasons() []Reason
}

// withReasons is an error that was given its causes.
type withReasons struct {
	error
	reasons []Reason
}

// Unwrap returns the error itself.
func (e withReasons) Unwrap() error { return e.error }

// Reasons returns the causes.
func (e withReasons) Reasons() []Reason { return e.reasons }

// WithReasons returns err with its causes, for [Reasons] to find. Without causes, and for nil, it returns err.
func WithReasons(err error, reasons []Reason) error {
	if err == nil || len(reasons) == 0 {
		return err
	}
	return withReasons{err, reasons}
}

// Reasons returns the causes of err: what the method Reasons of an error in its tree returns, for each error that was
// joined; where there is no such method, the error's own text. It is nil for nil.
func Reasons(err error) []Reason {
	if err == nil {
		return nil
	}
	var known explained
	if !errors.As(err, &known) {
		return []Reason{{Message: err.Error()}}
	}
	switch wrapper := err.(type) {
	case explained:
		return wrapper.Reasons()
	case interface{ Unwrap() []error }:
		var all []Reason
		for _, joined := range wrapper.Unwrap() {
			all = append(all, Reasons(joined)...)
		}
		return all
	}
	return Reasons(errors.Unwrap(err))
}
