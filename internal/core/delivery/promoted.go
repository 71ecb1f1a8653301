package delivery

import (
	"time"

	"github.com/aksflow/aksflow/internal/core/gate"
)

// Promoted is the JSON of promote: which image goes from one environment to the next, and what speaks for it.
type Promoted struct {
	Image  string `json:"image"` // by digest, in the repository that it is delivered from
	Digest string `json:"digest"`
	From   string `json:"from"`
	// Source is what the image was built from.
	Source Source `json:"source"`
	// Proof is the record of From that the promotion rests on.
	Proof string `json:"proof"`
	// Unverified reports that nobody has checked who signed the proofs.
	Unverified bool `json:"unverified,omitempty"`
	// Gates are what the gates of the environment say.
	Gates []gate.Verdict `json:"gates"`
	// Copied reports that the image was brought to another repository, with all that is attached to it.
	Copied bool     `json:"copied,omitempty"`
	Tags   []string `json:"tags,omitempty"`
}

// GateRows returns what the gates said, and who opened those that were closed: a title and a text each.
func (p *Promoted) GateRows() [][]string {
	var rows [][]string
	for _, g := range p.Gates {
		rows = append(rows, []string{"Gate " + g.Gate, g.Message})
		if g.Override != "" {
			rows = append(rows, []string{"Gate " + g.Gate + " opened by", g.Override})
		}
	}
	return rows
}

// Proved is the JSON of the record that a delivery ended well.
type Proved struct {
	Environment string `json:"environment"`
	Digest      string `json:"digest"`
	How         string `json:"how"`
	Unchanged   bool   `json:"unchanged"` // it was recorded before
}

// Approved is the JSON of approve.
type Approved struct {
	Environment string    `json:"environment"`
	Image       string    `json:"image"` // by digest
	Digest      string    `json:"digest"`
	Decision    string    `json:"decision"` // approved or revoked
	By          string    `json:"by"`       // who signed it
	Time        time.Time `json:"time"`
	Reason      string    `json:"reason,omitempty"`
}

// RolledBack is the JSON of rollback --chain: what became of each environment.
type RolledBack struct {
	Environments []RolledBackEnvironment `json:"environments"`
}

// RolledBackEnvironment is one environment of a chain.
type RolledBackEnvironment struct {
	Environment string `json:"environment"`
	Target      string `json:"target"`
	Status      Status `json:"status"` // done, unchanged where it runs another image, failed
	Message     string `json:"message,omitempty"`
	Detail      any    `json:"detail,omitempty"`
}
