package proof

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/image"
)

// The predicate types of what people say about an image.
const (
	ApprovalType = "https://github.com/aksflow/aksflow/approval/v1"
	OverrideType = "https://github.com/aksflow/aksflow/override/v1"
)

const (
	approval = "approval:"
	override = "override:"
)

// ApprovalOf is the kind of the approvals for an environment.
func ApprovalOf(environment string) Kind { return Kind(approval + environment) }

// OverrideOf is the kind of the records that somebody opened closed gates of an environment.
func OverrideOf(environment string) Kind { return Kind(override + environment) }

// The decisions of an approval.
const (
	Approved = "approved"
	Revoked  = "revoked"
)

// Approval is the predicate that says that somebody approves of an image in an environment, or not any more. The image is the
// subject of the statement. Who it is, the signature tells.
type Approval struct {
	Environment string    `json:"environment"`
	Decision    string    `json:"decision"`
	Time        time.Time `json:"time"`
	By          string    `json:"by,omitempty"` // USER@HOST
	Reason      string    `json:"reason,omitempty"`
	RunURL      string    `json:"runURL,omitempty"`
}

// PredicateType implements Predicate.
func (Approval) PredicateType() string { return ApprovalType }

// Override is the predicate that says that somebody promoted an image to an environment whose gates were closed.
type Override struct {
	Environment string    `json:"environment"`
	Time        time.Time `json:"time"`
	By          string    `json:"by,omitempty"` // USER@HOST
	Reason      string    `json:"reason"`
	RunURL      string    `json:"runURL,omitempty"`
	Gates       []string  `json:"gates"` // the gates that were closed, each with what it said
}

// PredicateType implements Predicate.
func (Override) PredicateType() string { return OverrideType }

// kindOfWord returns the kind of what somebody says about an environment.
func kindOfWord(predicateType string, predicate json.RawMessage) Kind {
	var of struct{ Environment string }
	_ = json.Unmarshal(predicate, &of) // what it lacks is found by Decode
	if predicateType == OverrideType {
		return OverrideOf(of.Environment)
	}
	return ApprovalOf(of.Environment)
}

func summarizeWord(p Proof) (string, error) {
	if p.PredicateType == OverrideType {
		o, err := Decode[Override](p)
		return fmt.Sprintf("gates opened at %s%s: %s", moment(o.Time), from(o.By), o.Reason), err
	}
	a, err := Decode[Approval](p)
	text := fmt.Sprintf("%s at %s%s", a.Decision, moment(a.Time), from(a.By))
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text, err
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func from(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

// Sign signs a statement about the image with a digest, and checks that the signature counts. It returns who signed, and a
// function that attaches the statement. Nothing is attached before.
func (t Trust) Sign(ctx context.Context, repo *image.Repository, digest string, signer Signer, p Predicate) (who string, attach func(context.Context, *image.Repository) error, err error) {
	a, err := artifact(ctx, repo, digest, signer, p)
	if err != nil {
		return "", nil, err
	}
	signed, err := read(a, digest)
	if err != nil {
		return "", nil, err
	}
	if who, err = t.Verify(signed); err != nil {
		return "", nil, err
	}
	return who, func(ctx context.Context, to *image.Repository) error {
		_, err := to.Attach(ctx, digest, a)
		return err
	}, nil
}

// SignedApproval is an approval, and who signed it.
type SignedApproval struct {
	Approval
	Signer string
}

// Approvals returns what was found about the approval for an environment: the newest word of each signer who counts, and why
// the others do not count.
func (t Trust) Approvals(found *Found, environment string) (counted []SignedApproval, ignored []string, err error) {
	newest := map[string]SignedApproval{}
	for _, p := range found.Proofs {
		if p.PredicateType != ApprovalType {
			continue
		}
		if p.Kind != ApprovalOf(environment) {
			other, _ := strings.CutPrefix(string(p.Kind), approval)
			ignored = append(ignored, fmt.Sprintf("%s is for %s", short(p.Referrer), other))
			continue
		}
		a, err := Decode[Approval](p)
		if err != nil {
			return nil, nil, err
		}
		who, err := t.Verify(p)
		if err != nil {
			ignored = append(ignored, fmt.Sprintf("%s: %v", short(p.Referrer), err))
			continue
		}
		before, ok := newest[who]
		if !ok || a.Time.After(before.Time) || a.Time.Equal(before.Time) && a.Decision != Approved {
			newest[who] = SignedApproval{a, who}
		}
	}
	for _, a := range newest {
		if a.Decision == Approved {
			counted = append(counted, a)
		} else {
			ignored = append(ignored, fmt.Sprintf("%s revoked it at %s", a.Signer, moment(a.Time)))
		}
	}
	slices.SortFunc(counted, func(a, b SignedApproval) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Signer, b.Signer))
	})
	slices.Sort(ignored)
	return counted, ignored, nil
}
