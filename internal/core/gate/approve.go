package gate

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Approve says who must approve that an image is promoted. Of several ways, each is wanted.
type Approve struct {
	// GitHub names an environment of GitHub that has required reviewers: they approve the run, whose job names the environment.
	GitHub string `yaml:"github"`
	// PullRequest is how many people must have approved the pull request that brought the commit of the image; GitHub only.
	PullRequest int `yaml:"pullRequest"`
	// Signed are approvals of the image itself, which `aksflow approve` attaches to its digest.
	Signed *Signed `yaml:"signed"`
}

// Signed are approvals with a signature.
type Signed struct {
	// By lists those who may approve.
	By []Approver `yaml:"by"`
	// Count is how many of them must. 0: one.
	Count int `yaml:"count"`
	// MaxAge is how long an approval counts, such as 24h. 0: as long as the image is not withdrawn.
	MaxAge time.Duration `yaml:"maxAge"`
}

// Override says who may open the gates that are closed.
type Override struct {
	By []Approver `yaml:"by"`
}

// Approver is somebody whose signature counts: a public key, or an identity.
type Approver struct {
	// Key is a file relative to aksflow.yaml with a public key in PEM.
	Key string `yaml:"key"`
	// Identity is a pattern for the subject of a certificate, such as the address of a workflow with its git ref: * matches
	// anything but a slash, ** anything. Issuer is the address of who vouched for it.
	Identity string `yaml:"identity"`
	Issuer   string `yaml:"issuer"`
	// Refs are patterns for the git ref of the run, such as refs/heads/main. Empty: any.
	Refs []string `yaml:"refs"`
}

// The ways to approve.
const (
	ByGitHub      = "github"
	ByPullRequest = "pullRequest"
	BySigned      = "signed"
)

// Approvals are what is known about one way to approve.
type Approvals struct {
	Given []Approval
	// Against are those who say no, each a sentence. While there is one, the gate is closed.
	Against []string
	// Ignored are approvals that do not count, each with the reason.
	Ignored []string
	// How says who can give one that is missing, and how.
	How string
}

// Approval is that somebody approved. Of one person, one counts.
type Approval struct {
	By     string
	Time   time.Time // zero when it is not known
	Reason string
}

func (a Approval) String() string {
	text := a.By
	if !a.Time.IsZero() {
		text += " at " + moment(a.Time.UTC())
	}
	if a.Reason != "" {
		text += ": " + oneLine(a.Reason)
	}
	return text
}

// oneLine is what a person wrote, in one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Number is how many must approve with a signature.
func (s Signed) Number() int { return max(s.Count, 1) }

// wanted returns how many approvals of a way are wanted; 0 where it is not asked for.
func (a Approve) wanted(way string) int {
	switch {
	case way == ByGitHub && a.GitHub != "":
		return 1
	case way == ByPullRequest:
		return a.PullRequest
	case way == BySigned && a.Signed != nil:
		return a.Signed.Number()
	}
	return 0
}

// Ways returns the ways to approve that are asked for.
func (a Approve) Ways() []string {
	return slices.DeleteFunc([]string{ByGitHub, ByPullRequest, BySigned}, func(way string) bool { return a.wanted(way) <= 0 })
}

// clockSkew is how far the clocks of those who approve may be ahead.
const clockSkew = 5 * time.Minute

// count returns the approvals of different people that count at a time.
func (a Approvals) count(now time.Time, maxAge time.Duration) (given []Approval, ignored []string) {
	ignored = slices.Clone(a.Ignored)
	newestFirst := slices.SortedStableFunc(slices.Values(a.Given), func(x, y Approval) int { return y.Time.Compare(x.Time) })
	for _, one := range newestFirst {
		switch {
		case one.Time.After(now.Add(clockSkew)):
			ignored = append(ignored, fmt.Sprintf("that of %s is dated in the future", one))
		case maxAge > 0 && now.Sub(one.Time) > maxAge:
			ignored = append(ignored, fmt.Sprintf("that of %s is older than %s", one, round(maxAge)))
		case !slices.ContainsFunc(given, func(other Approval) bool { return other.By == one.By }):
			given = append(given, one)
		}
	}
	return given, ignored
}

// approve reports whether there are enough approvals of one way.
func (g Gates) approve(way string, f Facts) Verdict {
	known, wanted := f.Approvals[way], g.Approve.wanted(way)
	var maxAge time.Duration
	if way == BySigned {
		maxAge = g.Approve.Signed.MaxAge
	}
	given, ignored := known.count(f.Now, maxAge)
	v := Verdict{Gate: "approve", Open: len(given) >= wanted && len(known.Against) == 0}
	var by []string
	for _, one := range given {
		by = append(by, one.String())
	}
	if v.Open {
		v.Message = "approved by " + strings.Join(by, ", ")
		return v
	}
	v.Message = fmt.Sprintf("%d of %d", len(given), wanted)
	if len(by) > 0 {
		v.Message += " (" + strings.Join(by, ", ") + ")"
	}
	v.Message += ": " + strings.Join(append(slices.Clone(known.Against), known.How), "; ")
	if len(ignored) > 0 {
		v.Message += " (what does not count: " + strings.Join(ignored, "; ") + ")"
	}
	return v
}

// Pass marks the verdicts that are closed as passed by somebody who may.
func Pass(verdicts []Verdict, by, reason string) {
	for i := range verdicts {
		if !verdicts[i].Open {
			verdicts[i].Override = by + ": " + oneLine(reason)
		}
	}
}

// validate calls problem for each mistake.
func (a Approve) validate(problem func(error, ...any)) {
	if len(a.Ways()) == 0 {
		problem(errors.New("want github, pullRequest or signed"))
	}
	if a.PullRequest < 0 {
		problem(fmt.Errorf("%d: want the number of people who must approve, such as 1", a.PullRequest), "pullRequest")
	}
	s := a.Signed
	if s == nil {
		return
	}
	keys := 0
	for _, who := range s.By {
		if who.Key != "" {
			keys++
		}
	}
	switch {
	case s.Count < 0:
		problem(fmt.Errorf("%d: want a number such as 2", s.Count), "signed", "count")
	case keys == len(s.By) && len(s.By) > 0 && s.Count > keys:
		problem(fmt.Errorf("%d: there are only %d keys in by, and each counts once", s.Count, keys), "signed", "count")
	}
	if s.MaxAge < 0 {
		problem(fmt.Errorf("%s: want a time such as 24h", report.Span(s.MaxAge)), "signed", "maxAge")
	}
	validateBy(s.By, problem, "signed", "by")
}

// validateBy checks a list of those who may sign something.
func validateBy(list []Approver, problem func(error, ...any), at ...any) {
	if len(list) == 0 {
		problem(errors.New("missing: name a key, or an identity and its issuer"), at...)
	}
	for i, a := range list {
		problem(a.validate(), append(slices.Clone(at), i)...)
	}
}

func (a Approver) validate() error {
	switch {
	case (a.Key == "") == (a.Identity == ""):
		return errors.New("want either key, or identity and issuer")
	case a.Key != "" && (a.Issuer != "" || len(a.Refs) > 0):
		return errors.New("a key has no issuer and no git refs: leave them out, or name an identity")
	case a.Identity != "" && a.Issuer == "":
		return errors.New("missing: issuer, who vouches for the identity, such as https://token.actions.githubusercontent.com")
	case a.Key != "" && !filepath.IsLocal(a.Key):
		return fmt.Errorf("%q leaves the directory of aksflow.yaml: want a path below it", a.Key)
	}
	for _, p := range append([]string{a.Identity}, a.Refs...) {
		if !doublestar.ValidatePattern(p) {
			return fmt.Errorf("%q is no pattern: quote it and check its brackets", p)
		}
	}
	return nil
}
