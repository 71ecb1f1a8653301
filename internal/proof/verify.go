package proof

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Trusted is a signer whose statements count: a key, or an identity that a certificate authority attests.
type Trusted struct {
	// Key is a public key, and KeyName what messages call it.
	Key     crypto.PublicKey
	KeyName string
	// Identity is a pattern for the subject of a certificate: * matches anything but a slash, ** anything. Issuer is who
	// vouched for it.
	Identity, Issuer string
	// Refs are patterns for the git ref that the run was for, such as refs/heads/main; empty: any.
	Refs []string
	// For are the kinds of proof that count; empty: all.
	For []Kind
}

// ReadPublicKey reads a public key in PEM.
func ReadPublicKey(pem []byte) (crypto.PublicKey, error) {
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("a public key to verify with: %w", err))
	}
	return key, nil
}

// Trust says whose signatures count.
type Trust struct {
	Signers []Trusted
	// Root has the certificate authorities, the logs and the timestamp authorities behind identities. Nil means that there are
	// none.
	Root root.TrustedMaterial
}

// ReadRoot reads Sigstore's trusted root from JSON. Nil fetches that of the public instance of Sigstore.
func ReadRoot(content []byte) (root.TrustedMaterial, error) {
	var r *root.TrustedRoot
	var err error
	if content == nil {
		r, err = root.FetchTrustedRoot()
	} else {
		r, err = root.NewTrustedRootFromJSON(content)
	}
	if err != nil {
		return nil, fmt.Errorf("the trusted root of Sigstore: %w", err)
	}
	return r, nil
}

// Verify checks the signature of a proof, and returns who signed it. A signer who may not sign proofs of its kind is an error.
func (t Trust) Verify(p Proof) (who string, err error) {
	if !p.Signed {
		return "", errors.New("it is not signed")
	}
	content, err := p.bundle.VerificationContent()
	if err != nil {
		return "", err
	}
	if content.Certificate() == nil {
		return t.verifyKey(p)
	}
	return t.verifyIdentity(p)
}

func (t Trusted) signs(kind Kind) bool { return len(t.For) == 0 || slices.Contains(t.For, kind) }

func (t Trust) verifyKey(p Proof) (string, error) {
	var other []string
	for _, s := range t.Signers {
		if s.Key == nil {
			continue
		}
		if err := verifyWith(p, s.Key); err != nil {
			continue
		}
		if s.signs(p.Kind) {
			return s.KeyName, nil
		}
		other = append(other, s.KeyName)
	}
	if len(other) > 0 {
		return "", fmt.Errorf("it is signed with %s, which does not count for %s", strings.Join(other, ", "), p.Kind)
	}
	return "", fmt.Errorf("its signature is not one of %s", t.names(p.Kind))
}

// names lists the signers that are allowed for a kind of proof.
func (t Trust) names(kind Kind) string {
	var names []string
	for _, s := range t.Signers {
		if s.signs(kind) {
			names = append(names, s.String())
		}
	}
	if len(names) == 0 {
		return "anyone who may sign " + string(kind)
	}
	return strings.Join(names, ", ")
}

// String returns who it is.
func (t Trusted) String() string {
	if t.Key != nil {
		return t.KeyName
	}
	who := fmt.Sprintf("%s (issuer %s)", t.Identity, t.Issuer)
	if len(t.Refs) > 0 {
		who += " for " + strings.Join(t.Refs, ", ")
	}
	return who
}

func verifyWith(p Proof, key crypto.PublicKey) error {
	with, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return err
	}
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(with, time.Time{}, time.Time{}), nil
	})
	verifier, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	_, err = check(verifier, p, verify.WithKey())
	return err
}

// check verifies a proof's bundle, whose statement must be about the proof's image.
func check(v *verify.Verifier, p Proof, who verify.PolicyOption) (*verify.VerificationResult, error) {
	algorithm, digits, _ := strings.Cut(p.digest, ":")
	digest, err := hex.DecodeString(digits)
	if err != nil {
		return nil, err
	}
	return v.Verify(p.bundle, verify.NewPolicy(verify.WithArtifactDigest(algorithm, digest), who))
}

func (t Trust) verifyIdentity(p Proof) (string, error) {
	if t.Root == nil {
		return "", fmt.Errorf("its signature is not one of %s: it has a certificate, and no identity is trusted", t.names(p.Kind))
	}
	// A certificate is valid for some minutes, so there must be a witness for the time of the signature. What else the trusted
	// root has is asked for, too.
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(t.Root.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(t.Root.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(t.Root, options...)
	if err != nil {
		return "", err
	}
	result, err := check(verifier, p, verify.WithoutIdentitiesUnsafe())
	if err != nil {
		return "", fmt.Errorf("its signature does not hold: %w", err)
	}
	return t.match(p.Kind, result.Signature.Certificate)
}

// match finds the signer that a certificate is of.
func (t Trust) match(kind Kind, c *certificate.Summary) (string, error) {
	who := fmt.Sprintf("%s (issuer %s)", c.SubjectAlternativeName, c.Issuer)
	for _, s := range t.Signers {
		known, err := doublestar.Match(s.Identity, c.SubjectAlternativeName)
		if err != nil || !known || s.Key != nil || s.Issuer != c.Issuer || !s.signs(kind) {
			continue
		}
		if len(s.Refs) > 0 && !slices.ContainsFunc(s.Refs, func(pattern string) bool {
			ok, err := doublestar.Match(pattern, c.SourceRepositoryRef)
			return ok && err == nil
		}) {
			return "", fmt.Errorf("it is signed by %s for the git ref %q, and only %s counts", who, c.SourceRepositoryRef, strings.Join(s.Refs, ", "))
		}
		return who, nil
	}
	return "", fmt.Errorf("it is signed by %s, and not by %s", who, t.names(kind))
}

// Rules are what an environment asks of an image.
type Rules struct {
	Trust
	// Require are the kinds of proof that an image must have.
	Require []Kind
}

// Judged is a proof with what the rules say about it.
type Judged struct {
	Proof
	// By is who signed it; "" when it does not count, and then Why says why.
	By  string
	Why error
}

// Verdict is what the rules say about what was found.
type Verdict struct {
	Proofs []Judged
	// Refused are the requirements that are not met, one error each; empty when the image is accepted.
	Refused []error
}

// Err returns why the image is refused; nil when it is accepted.
func (v *Verdict) Err() error { return errors.Join(v.Refused...) }

// Judge applies the rules. Only proofs that somebody signed who may do so count.
func (r Rules) Judge(found *Found) *Verdict {
	v := &Verdict{}
	counted := &Found{Digest: found.Digest}
	for _, p := range found.Proofs {
		j := Judged{Proof: p}
		if j.By, j.Why = r.Verify(p); j.Why == nil {
			counted.Proofs = append(counted.Proofs, p)
		}
		v.Proofs = append(v.Proofs, j)
	}
	for _, p := range found.Problems {
		v.Refused = append(v.Refused, fmt.Errorf("something attached to the image cannot be read: %w", p.Err))
	}
	for _, kind := range r.Require {
		if err := counted.meets(kind); err != nil {
			v.Refused = append(v.Refused, withReasons(kind, err, v.Proofs))
		}
	}
	return v
}

// withReasons adds why proofs of the kind do not count.
func withReasons(kind Kind, err error, proofs []Judged) error {
	var reasons []string
	for _, p := range proofs {
		if p.Kind == kind && p.Why != nil {
			reasons = append(reasons, fmt.Sprintf("%s does not count: %v", short(p.Referrer), p.Why))
		}
	}
	if len(reasons) == 0 {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return fmt.Errorf("%s: %w (%s)", kind, err, strings.Join(reasons, "; "))
}

func short(digest string) string {
	algorithm, digits, _ := strings.Cut(digest, ":")
	return fmt.Sprintf("%s:%.12s", algorithm, digits)
}

// errMissing says that an image lacks a required proof.
var errMissing = errors.New("there is no such proof that counts")

// meets checks that the proofs, which all count, have one of the kind that says yes; the newest decides.
func (f *Found) meets(kind Kind) error {
	switch {
	case kind == Test:
		results, err := f.Tests()
		if err != nil || len(results) == 0 {
			return orMissing(err)
		}
		if results[0].Result != Passed {
			return fmt.Errorf("the newest result is %s", results[0].Result)
		}
	case kind.Environment() != "":
		records, err := f.Records(kind.Environment())
		if err != nil || len(records) == 0 {
			return orMissing(err)
		}
		if newest := records[0]; newest.Status != StatusProved {
			return fmt.Errorf("it was %s at %s: %s", newest.Status, newest.Time.UTC().Format(time.RFC3339), newest.Reason)
		}
	default:
		if !slices.ContainsFunc(f.Proofs, func(p Proof) bool { return p.Kind == kind }) {
			return errMissing
		}
	}
	return nil
}

func orMissing(err error) error {
	if err == nil {
		err = errMissing
	}
	return err
}

// Claimed returns who a proof says has signed it, which nobody has checked; "" when it is not signed.
func (p Proof) Claimed() string {
	if !p.Signed {
		return ""
	}
	content, err := p.bundle.VerificationContent()
	if err != nil {
		return "an unreadable signature"
	}
	if c := content.Certificate(); c != nil {
		summary, err := certificate.SummarizeCertificate(c)
		if err != nil {
			return "an unreadable certificate"
		}
		return summary.SubjectAlternativeName
	}
	return "a key"
}
