package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// bundleType is the artifact type of a signed statement, which cosign looks for.
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// bundlePrefix is that of all versions of bundles.
	bundlePrefix = "application/vnd.dev.sigstore.bundle"

	// The annotations of a referrer are hints for those who list them.
	createdKey       = "org.opencontainers.image.created"
	contentKey       = "dev.sigstore.bundle.content"
	predicateTypeKey = "dev.sigstore.bundle.predicateType"
	unsignedTypeKey  = "in-toto.io/predicate-type"
)

// Signer signs statements.
type Signer interface {
	// Sign returns a Sigstore bundle in JSON, with the statement in a DSSE envelope.
	Sign(ctx context.Context, statement []byte) ([]byte, error)
	// Name says who signs, for the reader.
	Name() string
	// Signed reports whether a proof has a signature of this signer. Who signs without a key has another certificate each time:
	// any certificate counts as one of theirs.
	Signed(p Proof) bool
}

// Attach attaches a statement for each predicate to the image with a digest. Without a signer the statements are not signed,
// and no environment with verify: counts them.
func Attach(ctx context.Context, repo *image.Repository, digest string, signer Signer, predicates ...Predicate) ([]image.Referrer, error) {
	var artifacts []image.Artifact
	for _, p := range predicates {
		a, err := artifact(ctx, repo, digest, signer, p)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, a)
	}
	return repo.Attach(ctx, digest, artifacts...)
}

// artifact returns a statement as it is attached: signed, unless there is no signer.
func artifact(ctx context.Context, repo *image.Repository, digest string, signer Signer, p Predicate) (image.Artifact, error) {
	raw, err := stateAbout(repo.Name(), digest, p)
	if err != nil {
		return image.Artifact{}, err
	}
	a := image.Artifact{Type: payloadType, Content: raw, Annotations: map[string]string{
		createdKey: time.Now().UTC().Format(time.RFC3339), unsignedTypeKey: p.PredicateType(),
	}}
	if signer == nil {
		return a, nil
	}
	if a.Content, err = signer.Sign(ctx, raw); err != nil {
		said, _ := parse(raw, digest) // what stateAbout wrote
		return image.Artifact{}, fmt.Errorf("sign %s of %s: %w", kindOf(said.PredicateType, said.Predicate), digest, err)
	}
	a.Type = bundleType
	delete(a.Annotations, unsignedTypeKey)
	a.Annotations[contentKey], a.Annotations[predicateTypeKey] = "dsse-envelope", p.PredicateType()
	return a, nil
}

// Proof is a statement about an image, as somebody attached it. Nothing in it is trusted until [Trust.Verify] has checked
// the signature.
type Proof struct {
	Kind          Kind
	PredicateType string
	Predicate     json.RawMessage
	// Referrer is the digest of the manifest in the registry that holds the statement.
	Referrer string
	// Signed reports that there is a signature. Whose it is, and whether it is right, is not known yet.
	Signed bool

	digest string // of the image
	bundle *bundle.Bundle
}

// Problem is something attached to an image that cannot be read, or does not say what it should.
type Problem struct {
	Referrer string
	Err      error
}

// Found is what a registry has about an image.
type Found struct {
	Digest   string
	Proofs   []Proof
	Problems []Problem
}

// Err returns the problems as one error; nil where there are none. A referrer that cannot be read may be the one that
// withdraws an image, so whoever decides by what was found must not go on.
func (f *Found) Err() error {
	var errs []error
	for _, p := range f.Problems {
		errs = append(errs, p.Err)
	}
	return errors.Join(errs...)
}

// List reads all statements about the image with a digest. Only a failure to list is an error; what is listed and cannot
// be read is a problem of the result.
func List(ctx context.Context, repo *image.Repository, digest string) (*Found, error) {
	referrers, err := repo.Referrers(ctx, digest)
	if err != nil {
		return nil, err
	}
	found := &Found{Digest: digest}
	for _, r := range referrers {
		// The registry's word for the type may be that of the configuration, so the manifest decides. What is certainly
		// something else is not read.
		if !mayBeProof(r.Type) {
			continue
		}
		a, err := repo.Read(ctx, digest, r, bundleType, payloadType)
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			found.Problems = append(found.Problems, Problem{r.Digest, err})
			continue
		}
		if a.Content == nil {
			continue
		}
		p, err := read(a, digest)
		if errors.Is(err, errNoStatement) {
			continue
		}
		if err != nil {
			found.Problems = append(found.Problems, Problem{r.Digest, fmt.Errorf("%s, which is attached to %s@%s: %w", r.Digest, repo.Name(), digest, err)})
			continue
		}
		p.Referrer = r.Digest
		found.Proofs = append(found.Proofs, p)
	}
	return found, nil
}

// mayBeProof reports whether a registry's word for an artifact's type leaves it open that it is a statement.
func mayBeProof(artifactType string) bool {
	return artifactType == "" || artifactType == payloadType || strings.HasPrefix(artifactType, bundlePrefix) ||
		strings.HasPrefix(artifactType, "application/vnd.oci.")
}

// errNoStatement says that a bundle holds a plain signature, and not a statement.
var errNoStatement = errors.New("it is a signature without a statement")

// read reads a statement from an artifact.
func read(a image.Artifact, digest string) (Proof, error) {
	p := Proof{digest: digest}
	raw := a.Content
	if a.Type == bundleType {
		p.bundle = &bundle.Bundle{}
		if err := p.bundle.UnmarshalJSON(a.Content); err != nil {
			return p, fmt.Errorf("it is no Sigstore bundle: %w", err)
		}
		envelope := p.bundle.GetDsseEnvelope()
		if envelope == nil {
			return p, errNoStatement
		}
		if envelope.GetPayloadType() != payloadType {
			return p, fmt.Errorf("its envelope holds %q, and not a statement", envelope.GetPayloadType())
		}
		raw, p.Signed = envelope.GetPayload(), len(envelope.GetSignatures()) > 0
	}
	s, err := parse(raw, digest)
	if err != nil {
		return p, err
	}
	p.PredicateType, p.Predicate = s.PredicateType, s.Predicate
	p.Kind = kindOf(s.PredicateType, s.Predicate)
	return p, nil
}

// kindOf returns the kind of a predicate; its type where it is none of ours.
func kindOf(predicateType string, predicate json.RawMessage) Kind {
	switch predicateType {
	case TestResultType:
		return Test
	case SPDXType:
		return SBOM
	case ProvenanceType:
		return Provenance
	case EnvironmentType:
		var r Record
		_ = json.Unmarshal(predicate, &r) // what it lacks is found by Decode
		return Proved(r.Environment)
	case ApprovalType, OverrideType:
		return kindOfWord(predicateType, predicate)
	}
	return Kind(predicateType)
}

// Decode returns the predicate of a proof as P.
func Decode[P Predicate](p Proof) (P, error) {
	var out P
	if p.PredicateType != out.PredicateType() {
		return out, fmt.Errorf("%s is of type %s, and not %s", p.Referrer, p.PredicateType, out.PredicateType())
	}
	if err := json.Unmarshal(p.Predicate, &out); err != nil {
		return out, fmt.Errorf("%s: %w", p.Referrer, err)
	}
	return out, nil
}

// all returns the proofs of a kind with their predicates decoded.
func all[P Predicate](f *Found, kind Kind) ([]P, []Proof, error) {
	var predicates []P
	var proofs []Proof
	for _, p := range f.Proofs {
		if p.Kind != kind {
			continue
		}
		decoded, err := Decode[P](p)
		if err != nil {
			return nil, nil, err
		}
		predicates, proofs = append(predicates, decoded), append(proofs, p)
	}
	return predicates, proofs, nil
}

// Records returns the records of an environment, the newest first by the time that they state.
func (f *Found) Records(environment string) ([]Record, error) {
	records, _, err := all[Record](f, Proved(environment))
	slices.SortStableFunc(records, func(a, b Record) int { return b.Time.Compare(a.Time) })
	return records, err
}

// Tests returns the test results, the newest first by the time that they state.
func (f *Found) Tests() ([]TestResult, error) {
	results, _, err := all[TestResult](f, Test)
	slices.SortStableFunc(results, func(a, b TestResult) int { return b.Time.Compare(a.Time) })
	return results, err
}

// Provenance returns the statements about how the image was built.
func (f *Found) Provenance() ([]SLSA, error) {
	statements, _, err := all[SLSA](f, Provenance)
	return statements, err
}

// Has reports whether there is a proof of a kind.
func (f *Found) Has(kind Kind) bool {
	return slices.ContainsFunc(f.Proofs, func(p Proof) bool { return p.Kind == kind })
}

// By returns what a signer has signed; all of it where nothing is signed, which is a nil signer.
func (f *Found) By(signer Signer) *Found {
	if signer == nil {
		return f
	}
	by := *f
	by.Proofs = slices.DeleteFunc(slices.Clone(f.Proofs), func(p Proof) bool { return !signer.Signed(p) })
	return &by
}

// Made returns when a proof says that it was made; the zero time when it does not say.
func Made(p Proof) time.Time {
	var said struct {
		Time       time.Time `json:"time"`
		RunDetails struct {
			Metadata struct {
				FinishedOn time.Time `json:"finishedOn"`
			} `json:"metadata"`
		} `json:"runDetails"`
	}
	if p.Kind == SBOM || json.Unmarshal(p.Predicate, &said) != nil {
		return time.Time{}
	}
	if said.Time.IsZero() {
		return said.RunDetails.Metadata.FinishedOn
	}
	return said.Time
}

// Summary is what a proof says, in a few words.
func Summary(p Proof) string {
	text, err := summarize(p)
	if err != nil {
		return err.Error()
	}
	return text
}

func summarize(p Proof) (string, error) {
	switch {
	case p.Kind == Test:
		r, err := Decode[TestResult](p)
		text := fmt.Sprintf("%s: %d passed", strings.ToLower(r.Result), len(r.PassedTests))
		for _, more := range []struct {
			n    int
			what string
		}{{len(r.FailedTests), "failed"}, {len(r.WarnedTests), "skipped"}} {
			if more.n > 0 {
				text += fmt.Sprintf(", %d %s", more.n, more.what)
			}
		}
		return text, err
	case p.Kind == SBOM:
		doc, err := Decode[SPDX](p)
		if err != nil {
			return "", err
		}
		n, err := doc.Packages()
		return report.Count(n, "package"), err
	case p.Kind == Provenance:
		s, err := Decode[SLSA](p)
		text := "built"
		if commit := s.Commit(); commit != "" {
			text += fmt.Sprintf(" from %.12s", commit)
		}
		if run := s.RunDetails.Metadata.InvocationID; run != "" {
			text += " by " + run
		}
		return text, err
	case p.Kind.Environment() != "":
		r, err := Decode[Record](p)
		text := fmt.Sprintf("%s at %s", r.Status, r.Time.UTC().Format("2006-01-02 15:04 MST"))
		for _, more := range []string{r.How, r.Reason} {
			if more != "" {
				text += ": " + more
			}
		}
		return text, err
	case p.PredicateType == ApprovalType, p.PredicateType == OverrideType:
		return summarizeWord(p)
	}
	return "another kind of statement", nil
}
