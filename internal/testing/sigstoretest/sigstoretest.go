// Package sigstoretest gives tests an instance of Sigstore in the test's own process: an authority that gives certificates to
// identities, and a log. Its trusted root is a file as Sigstore's own, so that whoever verifies need not know that it is a test.
package sigstoretest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

// Sigstore is an instance.
type Sigstore struct {
	log          *ca.VirtualSigstore
	authority    *root.FulcioCertificateAuthority
	intermediate *ecdsa.PrivateKey
}

// New makes an instance with keys of its own.
func New(t testing.TB) *Sigstore {
	t.Helper()
	log, err := ca.NewVirtualSigstore()
	check(t, err)
	top, key, err := ca.GenerateRootCa()
	check(t, err)
	intermediate, intermediateKey, err := ca.GenerateFulcioIntermediate(top, key)
	check(t, err)
	return &Sigstore{log: log, intermediate: intermediateKey, authority: &root.FulcioCertificateAuthority{
		Root: top, Intermediates: []*x509.Certificate{intermediate}, URI: "https://fulcio.localhost",
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}}
}

// Root is the trusted root in JSON.
func (s *Sigstore) Root(t testing.TB) []byte {
	t.Helper()
	logs := s.log.RekorLogs()
	for id, log := range logs {
		raw, err := hex.DecodeString(id)
		check(t, err)
		log.ID = raw
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{s.authority}, nil, nil, logs)
	check(t, err)
	text, err := trusted.MarshalJSON()
	check(t, err)
	return text
}

// Identity is who signs.
type Identity struct {
	Subject, Issuer string
	Ref             string        // the git ref of the run
	Late            time.Duration // how long after the certificate was given the log gets the signature
}

// Signer signs as an identity. It is a proof.Signer.
func (s *Sigstore) Signer(as Identity) Signer { return Signer{s, as} }

// Signer signs with a certificate for each statement.
type Signer struct {
	sigstore *Sigstore
	as       Identity
}

// Name returns who signs.
func (s Signer) Name() string { return s.as.Subject }

// Sign returns a bundle in JSON.
func (s Signer) Sign(ctx context.Context, statement []byte) ([]byte, error) {
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	one := &signing{Signer: s}
	signed, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: "application/vnd.in-toto+json"}, key, sign.BundleOptions{
		Context: ctx, CertificateProvider: one, CertificateProviderOptions: &sign.CertificateProviderOptions{}, TransparencyLogs: []sign.Transparency{one},
	})
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(signed)
}

// signing is the authority and the log for one signature.
type signing struct {
	Signer
	cert *x509.Certificate
}

// certificateLife is how long a certificate is valid.
const certificateLife = 10 * time.Minute

// GetCertificate implements sign.CertificateProvider.
func (s *signing) GetCertificate(_ context.Context, key sign.Keypair, _ *sign.CertificateProviderOptions) ([]byte, error) {
	subject, err := url.Parse(s.as.Subject)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), URIs: []*url.URL{subject},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(certificateLife - time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	// https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
	for id, text := range map[int]string{8: s.as.Issuer, 14: s.as.Ref} {
		value, err := asn1.MarshalWithParams(text, "utf8")
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, id}, Value: value})
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, s.sigstore.authority.Intermediates[0], key.GetPublicKey(), s.sigstore.intermediate)
	if err != nil {
		return nil, err
	}
	s.cert, err = x509.ParseCertificate(raw)
	return raw, err
}

// GetTransparencyLogEntry implements sign.Transparency.
func (s *signing) GetTransparencyLogEntry(_ context.Context, _ []byte, b *protobundle.Bundle) error {
	log, envelope := s.sigstore.log, b.GetDsseEnvelope()
	signature := envelope.GetSignatures()[0].GetSig()
	entry, err := log.GenerateTlogEntry(s.cert, &dsse.Envelope{
		PayloadType: envelope.GetPayloadType(), Payload: encode(envelope.GetPayload()), Signatures: []dsse.Signature{{Sig: encode(signature)}},
	}, signature, time.Now().Add(s.as.Late).Unix(), true)
	if err != nil {
		return err
	}
	kept := entry.TransparencyLogEntry()
	kept.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	id, err := log.RekorLogID()
	if err != nil {
		return err
	}
	promise, err := log.RekorSignPayload(tlog.RekorPayload{
		Body: encode(kept.GetCanonicalizedBody()), IntegratedTime: kept.GetIntegratedTime(), LogIndex: kept.GetLogIndex(), LogID: id,
	})
	if err != nil {
		return err
	}
	kept.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, kept)
	return nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
