// Package proof attaches what is known about an image to its digest in the registry, as in-toto statements, and says which
// of it can be trusted.
//
// A statement stands in an OCI referrer of the image. Whoever may push to the repository may attach one, so what is read by
// [List] is only a claim: its subject is the digest that was asked for, and nothing else is known. A signed statement is a
// Sigstore bundle. [Trust.Verify] checks the signature, and whose it is; [Check] applies the rules of an environment. No
// annotation, no tag and no order of the registry is trusted.
package proof

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The predicate types.
const (
	TestResultType  = "https://in-toto.io/attestation/test-result/v0.1"
	SPDXType        = "https://spdx.dev/Document"
	ProvenanceType  = "https://slsa.dev/provenance/v1"
	EnvironmentType = "https://github.com/aksflow/aksflow/environment/v1"
)

// Kind is what a proof is about. For a record of an environment it has the environment's name: proved:staging. So it has for
// what people say: approval:production, override:production.
type Kind string

// The kinds of proof.
const (
	Test       Kind = "test"
	SBOM       Kind = "sbom"
	Provenance Kind = "provenance"
	proved          = "proved:"
)

// Proved is the kind of the records of an environment.
func Proved(environment string) Kind { return Kind(proved + environment) }

// Environment returns the environment that a kind of proof is about; "" for other kinds.
func (k Kind) Environment() string {
	name, _ := strings.CutPrefix(string(k), proved)
	if name == string(k) {
		return ""
	}
	return name
}

// Predicate is what a statement says about the image.
type Predicate interface {
	// PredicateType is a URI.
	PredicateType() string
}

// TestResult is the predicate of test results.
// https://github.com/in-toto/attestation/blob/v1.2.0/spec/predicates/test-result.md
type TestResult struct {
	Result string `json:"result"` // PASSED, WARNED or FAILED
	// Configuration names the definition of the tests; see Definition.
	Configuration []Resource `json:"configuration"`
	URL           string     `json:"url,omitempty"` // of the run
	PassedTests   []string   `json:"passedTests"`
	WarnedTests   []string   `json:"warnedTests,omitempty"` // those that were skipped
	FailedTests   []string   `json:"failedTests,omitempty"`
	Time          time.Time  `json:"time,omitzero"`
	// Tests are the tests above as a JUnit report names them, in the order in which they ran.
	Tests []TestCase `json:"tests,omitempty"`
}

// TestCase names one test.
type TestCase struct {
	Suite   string `json:"suite"`
	Class   string `json:"class,omitempty"`
	Name    string `json:"name"`
	Skipped bool   `json:"skipped,omitempty"`
}

// The results of tests.
const (
	Passed = "PASSED"
	Failed = "FAILED"
)

// PredicateType implements Predicate.
func (TestResult) PredicateType() string { return TestResultType }

const testDefinition = "test definition"

// Definition names the definition of tests by the hash of what it consists of, for TestResult.Configuration.
func Definition(sha256 string) []Resource {
	if sha256 == "" {
		return []Resource{}
	}
	return []Resource{{Name: testDefinition, Digest: map[string]string{"sha256": sha256}}}
}

// Definition returns the hash of the definition of the tests; "" when there is none.
func (t TestResult) Definition() string {
	for _, r := range t.Configuration {
		if r.Name == testDefinition {
			return r.Digest["sha256"]
		}
	}
	return ""
}

// Resource is in-toto's resource descriptor.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// SPDX is the predicate of an SBOM: an SPDX document as JSON.
type SPDX json.RawMessage

// PredicateType implements Predicate.
func (SPDX) PredicateType() string { return SPDXType }

// MarshalJSON implements json.Marshaler.
func (s SPDX) MarshalJSON() ([]byte, error) { return s, nil }

// UnmarshalJSON implements json.Unmarshaler.
func (s *SPDX) UnmarshalJSON(b []byte) error {
	*s = slices.Clone(b)
	return nil
}

// Packages returns the number of packages that an SBOM lists, without the image itself.
func (s SPDX) Packages() (int, error) {
	var doc struct {
		Packages []struct {
			Purpose string `json:"primaryPackagePurpose"`
		} `json:"packages"`
	}
	err := json.Unmarshal(s, &doc)
	n := 0
	for _, p := range doc.Packages {
		if p.Purpose != "CONTAINER" && p.Purpose != "OPERATING-SYSTEM" {
			n++
		}
	}
	return n, err
}

// SLSA is the predicate of provenance.
// https://slsa.dev/spec/v1.0/provenance
type SLSA struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// PredicateType implements Predicate.
func (SLSA) PredicateType() string { return ProvenanceType }

// BuildDefinition says what was built from what.
type BuildDefinition struct {
	BuildType          string         `json:"buildType"`
	ExternalParameters BuildArguments `json:"externalParameters"`
	InternalParameters BuildKeys      `json:"internalParameters"`
	// ResolvedDependencies has the source first, with its commit.
	ResolvedDependencies []Resource `json:"resolvedDependencies,omitempty"`
}

// BuildArguments are what the caller of a build said.
type BuildArguments struct {
	Dockerfile string            `json:"dockerfile,omitempty"`
	Target     string            `json:"target,omitempty"`
	Platform   string            `json:"platform,omitempty"`
	Args       map[string]string `json:"args,omitempty"`
	Ref        string            `json:"ref,omitempty"` // the git ref
	Version    string            `json:"version,omitempty"`
}

// BuildKeys name what went into an image.
type BuildKeys struct {
	BuildKey  string `json:"buildKey,omitempty"`
	SourceKey string `json:"sourceKey,omitempty"`
}

// RunDetails says who built, and when.
type RunDetails struct {
	Builder struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version,omitempty"`
	} `json:"builder"`
	Metadata struct {
		InvocationID string    `json:"invocationId,omitempty"` // the page of the CI run
		FinishedOn   time.Time `json:"finishedOn,omitzero"`
	} `json:"metadata"`
}

// BuildType is the build type of SLSA provenance.
const BuildType = "https://github.com/aksflow/aksflow/dockerfile/v1"

// Commit returns the commit of the source; "" when there is none.
func (s SLSA) Commit() string {
	for _, r := range s.BuildDefinition.ResolvedDependencies {
		if commit := r.Digest["gitCommit"]; commit != "" {
			return commit
		}
	}
	return ""
}

// The statuses of a record of an environment.
const (
	StatusProved    = "proved"    // a delivery there ended well
	StatusWithdrawn = "withdrawn" // it failed afterwards, or was rolled back
)

// Record is the predicate that says how an image did in an environment.
type Record struct {
	Environment string    `json:"environment"`
	Status      string    `json:"status"`
	Time        time.Time `json:"time"`
	How         string    `json:"how,omitempty"` // deploy, wait, or the name of a proof that a person gave
	By          string    `json:"by,omitempty"`  // USER@HOST
	RunURL      string    `json:"runURL,omitempty"`
	SourceKey   string    `json:"sourceKey,omitempty"`
	Commit      string    `json:"commit,omitempty"`
	Ref         string    `json:"ref,omitempty"`         // the git ref that was delivered
	Seconds     int64     `json:"soakSeconds,omitempty"` // for how long it has been healthy by then
	Reason      string    `json:"reason,omitempty"`      // why it was withdrawn
}

// PredicateType implements Predicate.
func (Record) PredicateType() string { return EnvironmentType }

const (
	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = "application/vnd.in-toto+json"
)

// statement is in-toto's statement about an image.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []Resource      `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// stateAbout makes a statement about the image with a digest, under the name of its repository.
func stateAbout(repository, digest string, p Predicate) ([]byte, error) {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok {
		return nil, fmt.Errorf("digest %q: want sha256:HEX", digest)
	}
	predicate, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("write a statement of type %s: %w", p.PredicateType(), err)
	}
	return json.Marshal(statement{
		Type: statementType, Subject: []Resource{{Name: repository, Digest: map[string]string{algorithm: hex}}},
		PredicateType: p.PredicateType(), Predicate: predicate,
	})
}

// parse reads a statement, which must be about the image with the digest.
func parse(raw []byte, digest string) (statement, error) {
	var s statement
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("it is no in-toto statement: %w", err)
	}
	if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/") {
		return s, fmt.Errorf("it is no in-toto statement, but of type %q", s.Type)
	}
	algorithm, hex, _ := strings.Cut(digest, ":")
	if !slices.ContainsFunc(s.Subject, func(r Resource) bool { return r.Digest[algorithm] == hex && hex != "" }) {
		return s, fmt.Errorf("it is a statement about another image (%s)", subjects(s))
	}
	return s, nil
}

func subjects(s statement) string {
	var all []string
	for _, r := range s.Subject {
		all = append(all, "sha256:"+r.Digest["sha256"])
	}
	return strings.Join(all, ", ")
}
