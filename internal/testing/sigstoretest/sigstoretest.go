// Package sigstoretest gives tests an instance of Sigstore on loopback: an authority that gives certificates to identities, and
// a log. Its trusted root and its signing configuration are files as Sigstore's own, so that neither who signs nor who verifies
// need know that it is a test.
package sigstoretest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Sigstore is an instance.
type Sigstore struct {
	address      string
	log          *ca.VirtualSigstore
	authority    *root.FulcioCertificateAuthority
	intermediate *ecdsa.PrivateKey
	issuer       ed25519.PrivateKey // signs the tokens of CI runs
}

// New starts an instance with keys of its own.
func New(t testing.TB) *Sigstore {
	t.Helper()
	log, err := ca.NewVirtualSigstore()
	check(t, err)
	top, key, err := ca.GenerateRootCa()
	check(t, err)
	intermediate, intermediateKey, err := ca.GenerateFulcioIntermediate(top, key)
	check(t, err)
	_, issuer, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	s := &Sigstore{log: log, intermediate: intermediateKey, issuer: issuer, authority: &root.FulcioCertificateAuthority{
		Root: top, Intermediates: []*x509.Certificate{intermediate}, URI: "https://fulcio.localhost",
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
	}}
	mux := http.NewServeMux()
	// https://github.com/sigstore/fulcio/blob/main/fulcio.proto
	mux.HandleFunc("POST /api/v2/signingCert", answer(http.StatusOK, s.certificate))
	// https://github.com/sigstore/rekor/blob/main/openapi.yaml
	mux.HandleFunc("POST /api/v1/log/entries", answer(http.StatusCreated, s.entry))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.address = server.URL
	return s
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

// Services is the signing configuration in JSON: where the authority and the log are.
func (s *Sigstore) Services(t testing.TB) []byte {
	t.Helper()
	since := time.Now().Add(-time.Hour)
	here := root.Service{URL: s.address, MajorAPIVersion: 1, ValidityPeriodStart: since, Operator: "localhost"}
	one := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
	config, err := root.NewSigningConfig(root.SigningConfigMediaType02, []root.Service{here}, nil, []root.Service{here}, one, nil, one)
	check(t, err)
	text, err := config.MarshalJSON()
	check(t, err)
	return text
}

// Identity is the run that signs.
type Identity struct {
	Subject, Issuer string
	Ref             string        // the git ref of the run
	Late            time.Duration // how long after the certificate was given the log gets the signature
}

// claims are what a token says.
type claims struct {
	Audience string        `json:"aud"`
	Issuer   string        `json:"iss"`
	Subject  string        `json:"sub"`
	Ref      string        `json:"ref"`
	Late     time.Duration `json:"late"`
}

// Token is the OIDC token that the CI system gives a run for the audience sigstore.
func (s *Sigstore) Token(as Identity) string {
	text, err := json.Marshal(claims{"sigstore", as.Issuer, as.Subject, as.Ref, as.Late})
	if err != nil {
		panic(err) // it has only texts and a number
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.issuer, []byte(signed)))
}

// read returns what a token says that is one of this instance's.
func (s *Sigstore) read(token string) (c claims, err error) {
	end := strings.LastIndex(token, ".")
	if end < 0 {
		return c, errors.New("the token is none")
	}
	by, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil || !ed25519.Verify(s.issuer.Public().(ed25519.PublicKey), []byte(token[:end]), by) {
		return c, errors.New("the token's signature does not hold")
	}
	_, encoded, _ := strings.Cut(token[:end], ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, err
	}
	if c.Audience != "sigstore" {
		return c, fmt.Errorf("the token is for %q", c.Audience)
	}
	return c, nil
}

// certificateLife is how long a certificate is valid.
const certificateLife = 10 * time.Minute

// certificate gives a certificate to who has a token and the private key.
func (s *Sigstore) certificate(_ http.Header, req *http.Request) (any, error) {
	who, err := s.read(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		return nil, err
	}
	var asked struct {
		PublicKeyRequest struct {
			PublicKey         struct{ Content string }
			ProofOfPossession []byte
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
		return nil, err
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(asked.PublicKeyRequest.PublicKey.Content))
	if err != nil {
		return nil, err
	}
	if err := holds(key, asked.PublicKeyRequest.ProofOfPossession, who.Subject); err != nil {
		return nil, fmt.Errorf("the proof of possession: %w", err)
	}
	subject, err := url.Parse(who.Subject)
	if err != nil {
		return nil, err
	}
	given := time.Now().Add(-who.Late)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(given.UnixNano()), URIs: []*url.URL{subject},
		NotBefore: given.Add(-time.Minute), NotAfter: given.Add(certificateLife - time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	// https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
	for id, text := range map[int]string{8: who.Issuer, 14: who.Ref} {
		value, err := asn1.MarshalWithParams(text, "utf8")
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, id}, Value: value})
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, s.authority.Intermediates[0], key, s.intermediate)
	if err != nil {
		return nil, err
	}
	var chain []string
	for _, der := range [][]byte{raw, s.authority.Intermediates[0].Raw, s.authority.Root.Raw} {
		chain = append(chain, string(cryptoutils.PEMEncode(cryptoutils.CertificatePEMType, der)))
	}
	return map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}}, nil
}

// holds checks a signature of a text.
func holds(key any, by []byte, text string) error {
	verifier, err := signature.LoadDefaultVerifier(key)
	if err != nil {
		return err
	}
	return verifier.VerifySignature(strings.NewReader(string(by)), strings.NewReader(text))
}

// entry keeps a signature in the log.
func (s *Sigstore) entry(header http.Header, req *http.Request) (any, error) {
	var proposed struct {
		Kind string
		Spec struct {
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&proposed); err != nil {
		return nil, err
	}
	content := proposed.Spec.ProposedContent
	if proposed.Kind != "dsse" || len(content.Verifiers) != 1 {
		return nil, fmt.Errorf("an entry of kind %q with %d verifiers", proposed.Kind, len(content.Verifiers))
	}
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM(content.Verifiers[0])
	if err != nil {
		return nil, err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal([]byte(content.Envelope), &envelope); err != nil {
		return nil, err
	}
	by, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		return nil, err
	}
	made, err := s.log.GenerateTlogEntry(certs[0], &envelope, by, time.Now().Unix(), true)
	if err != nil {
		return nil, err
	}
	kept := made.TransparencyLogEntry()
	id, err := s.log.RekorLogID()
	if err != nil {
		return nil, err
	}
	body := base64.StdEncoding.EncodeToString(kept.GetCanonicalizedBody())
	promise, err := s.log.RekorSignPayload(tlog.RekorPayload{Body: body, IntegratedTime: kept.GetIntegratedTime(), LogIndex: kept.GetLogIndex(), LogID: id})
	if err != nil {
		return nil, err
	}
	included := kept.GetInclusionProof()
	name := hex.EncodeToString(included.GetRootHash())
	header.Set("ETag", name)
	return map[string]any{name: map[string]any{
		"body": body, "integratedTime": kept.GetIntegratedTime(), "logIndex": kept.GetLogIndex(), "logID": id,
		"verification": map[string]any{
			"signedEntryTimestamp": promise,
			"inclusionProof": map[string]any{
				"checkpoint": included.GetCheckpoint().GetEnvelope(), "hashes": []string{}, "logIndex": included.GetLogIndex(),
				"rootHash": name, "treeSize": included.GetTreeSize(),
			},
		},
	}}, nil
}

// answer serves what a function returns as JSON; it may set headers.
func answer(status int, of func(http.Header, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		result, err := of(w.Header(), req)
		if err != nil {
			status, result = http.StatusBadRequest, map[string]any{"code": http.StatusBadRequest, "message": err.Error()}
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(result)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
