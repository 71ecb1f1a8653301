package delivery

import "strings"

// CheckStatus is what became of a check.
type CheckStatus string

// The statuses of a check.
const (
	CheckOK      CheckStatus = "ok"
	CheckWarning CheckStatus = "warning" // a delivery may work, and is slower or less certain than it could be
	CheckFailed  CheckStatus = "failed"  // a delivery will fail
	CheckSkipped CheckStatus = "skipped" // another check has to succeed first
)

// Check is one thing that a delivery needs, and whether it is there.
type Check struct {
	// Name is what was looked at, in a few words: "registry", "cluster", "right to create deployments".
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	// Message is what was found.
	Message string `json:"message,omitempty"`
	// Remedy is what to do about it, with the rule or the command that does it; "" where Message says it.
	Remedy string `json:"remedy,omitempty"`
}

// Passed is a check that found what a delivery needs.
func Passed(name, message string) Check {
	return Check{Name: name, Status: CheckOK, Message: message}
}

// NewCheck is a check that failed with err, or else found what message says.
func NewCheck(name, message string, err error) Check {
	if err == nil {
		return Passed(name, message)
	}
	return Check{Name: name, Status: CheckFailed, Message: strings.TrimSpace(err.Error())}
}
