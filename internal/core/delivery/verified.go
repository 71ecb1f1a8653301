package delivery

import (
	"strings"
	"time"
)

// Verified is the JSON of verify: what is known about an image.
type Verified struct {
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// Environment is the one whose rules were applied, and Verified reports that it accepts the image. Without rules nothing
	// is verified.
	Environment string   `json:"environment,omitempty"`
	Verified    bool     `json:"verified"`
	Refused     []string `json:"refused,omitempty"` // the requirements that are not met
	Proofs      []Proof  `json:"proofs"`
	Problems    []string `json:"problems,omitempty"` // what is attached and cannot be read
}

// Proof is a statement that is attached to an image.
type Proof struct {
	Kind string `json:"kind"` // test, sbom, provenance, proved:ENVIRONMENT, or the type of its predicate
	Says string `json:"says"`
	// Time is when it says that it was made; the zero time when it does not say.
	Time time.Time `json:"time,omitzero"`
	// Signed is who has signed it, as the signature says; "" for nobody. By is who that is, as the environment has verified;
	// "" when it does not count there, and Why says why.
	Signed   string `json:"signed,omitempty"`
	By       string `json:"by,omitempty"`
	Why      string `json:"why,omitempty"`
	Referrer string `json:"referrer"` // the digest of its manifest
}

// Title is what the proof is about, in words.
func (p Proof) Title() string {
	if environment, ok := strings.CutPrefix(p.Kind, "proved:"); ok {
		return "record of " + environment
	}
	switch p.Kind {
	case "test":
		return "tests"
	case "sbom":
		return "SBOM"
	}
	return p.Kind
}
