package proof

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// ReadKey reads a private key in PEM: one that cosign made (password is what it is encrypted with), PKCS #8, or a key of its
// type alone.
func ReadKey(pem, password []byte) (crypto.Signer, error) {
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("the key to sign with: %w", err))
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fault.Usagef("the key to sign with: a %T cannot sign", key)
	}
	if _, ok := signer.Public().(ed25519.PublicKey); ok {
		return nil, fault.Usagef("the key to sign with: Ed25519 is not supported; make one with `cosign generate-key-pair`")
	}
	return signer, nil
}

// keypair makes a key what sigstore-go signs with.
type keypair struct{ crypto.Signer }

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	if public, ok := k.Public().(*rsa.PublicKey); ok {
		switch public.Size() {
		case 3072 / 8:
			return protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256
		case 4096 / 8:
			return protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256
		}
		return protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256
	}
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k keypair) GetKeyAlgorithm() string {
	if _, ok := k.Public().(*rsa.PublicKey); ok {
		return "RSA"
	}
	return "ECDSA"
}

// GetHint returns what names the key in a bundle: as cosign does, the hash of the public key.
func (k keypair) GetHint() []byte { return []byte(keyID(k.Public())) }

func (k keypair) GetPublicKey() crypto.PublicKey { return k.Public() }

func (k keypair) GetPublicKeyPem() (string, error) {
	pem, err := cryptoutils.MarshalPublicKeyToPEM(k.Public())
	return string(pem), err
}

func (k keypair) SignData(_ context.Context, data []byte) (signature, digest []byte, err error) {
	sum := sha256.Sum256(data)
	signature, err = k.Sign(rand.Reader, sum[:], crypto.SHA256)
	return signature, sum[:], err
}

// keyID names a public key: the hash of its PKIX form in base64.
func keyID(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// signer signs with sigstore-go.
type signer struct {
	name string
	// begin returns the key, and how what it signs is proved to be its.
	begin func(context.Context) (sign.Keypair, sign.BundleOptions, error)
	// signed reports whether a signature is one of its own.
	signed func(Proof) bool
}

func (s signer) Name() string { return s.name }

func (s signer) Signed(p Proof) bool { return p.Signed && s.signed(p) }

func (s signer) Sign(ctx context.Context, raw []byte) ([]byte, error) {
	key, options, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	options.Context = ctx
	signed, err := sign.Bundle(&sign.DSSEData{Data: raw, PayloadType: payloadType}, key, options)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(signed)
}

// WithKey returns a signer that uses a key. Who verifies has the public key, and needs no log and no time.
func WithKey(name string, key crypto.Signer) Signer {
	begin := func(context.Context) (sign.Keypair, sign.BundleOptions, error) {
		if public, ok := key.Public().(*ecdsa.PublicKey); ok && public.Curve != elliptic.P256() {
			return nil, sign.BundleOptions{}, fault.Usagef("the key %s is of the curve %s: want P-256", name, public.Params().Name)
		}
		return keypair{key}, sign.BundleOptions{}, nil
	}
	return signer{name, begin, func(p Proof) bool { return verifyWith(p, key.Public()) == nil }}
}

// Keyless is how statements are signed without a key of one's own: a certificate authority gives a certificate of some
// minutes for the identity of the CI run, and a log or a timestamp keeps that it was valid then.
type Keyless struct {
	// Token returns an OIDC token for the audience sigstore.
	Token func(context.Context) (string, error)
	// Services is a Sigstore signing configuration in JSON. Nil means the public instance of Sigstore.
	Services []byte
	// Transport is the way to the services; nil means the default.
	Transport http.RoundTripper
}

// serviceTimeout bounds a request to a service of Sigstore.
const serviceTimeout = 30 * time.Second

// Signer returns a signer that gets a certificate for each statement.
func (k Keyless) Signer() Signer {
	return signer{"the identity of this run", k.begin, func(p Proof) bool {
		content, err := p.bundle.VerificationContent()
		return err == nil && content.Certificate() != nil
	}}
}

func (k Keyless) begin(ctx context.Context) (sign.Keypair, sign.BundleOptions, error) {
	token, err := k.Token(ctx)
	if err != nil {
		return nil, sign.BundleOptions{}, err
	}
	options := sign.BundleOptions{CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token}}
	if err := k.services(&options); err != nil {
		return nil, options, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return keypair{private}, options, err
}

// services fills in the services of the signing configuration.
func (k Keyless) services(options *sign.BundleOptions) error {
	var config *root.SigningConfig
	var err error
	if k.Services == nil {
		config, err = root.FetchSigningConfig()
	} else {
		config, err = root.NewSigningConfigFromJSON(k.Services)
	}
	if err != nil {
		return fmt.Errorf("which services of Sigstore sign: %w", err)
	}
	now := time.Now()
	authority, err := root.SelectService(config.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now)
	if err != nil {
		return fmt.Errorf("the signing configuration names no certificate authority: %w", err)
	}
	options.CertificateProvider = sign.NewFulcio(&sign.FulcioOptions{
		BaseURL: authority.URL, Timeout: serviceTimeout, Retries: 1, Transport: k.Transport,
	})
	if logs := config.RekorLogURLs(); len(logs) > 0 {
		selected, err := root.SelectServices(logs, config.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return fmt.Errorf("the logs of the signing configuration: %w", err)
		}
		for _, log := range selected {
			options.TransparencyLogs = append(options.TransparencyLogs, sign.NewRekor(&sign.RekorOptions{
				BaseURL: log.URL, Timeout: serviceTimeout, Retries: 1, Version: log.MajorAPIVersion,
			}))
		}
	}
	if stamps := config.TimestampAuthorityURLs(); len(stamps) > 0 {
		selected, err := root.SelectServices(stamps, config.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return fmt.Errorf("the timestamp authorities of the signing configuration: %w", err)
		}
		for _, stamp := range selected {
			options.TimestampAuthorities = append(options.TimestampAuthorities, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
				URL: stamp.URL, Timeout: serviceTimeout, Retries: 1, Transport: k.Transport,
			}))
		}
	}
	if len(options.TransparencyLogs) == 0 && len(options.TimestampAuthorities) == 0 {
		return errors.New("the signing configuration names neither a log nor a timestamp authority: nobody could tell later that the certificate was valid")
	}
	return nil
}
