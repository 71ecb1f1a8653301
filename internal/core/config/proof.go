package config

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// The kinds of proof. A record that an image did well in an environment is of the kind proved:ENVIRONMENT.
const (
	ProofTest       = "test"
	ProofSBOM       = "sbom"
	ProofProvenance = "provenance"
	ProofProved     = "proved:"
)

// Sign says how the proofs of an image are signed: with a key, or as the CI run. One of the two.
type Sign struct {
	// Key is a private key: a file relative to aksflow.yaml, in PEM, as `cosign generate-key-pair` makes it, or
	// the address of a key in Azure Key Vault, https://VAULT.vault.azure.net/keys/NAME. It is an ECDSA key of the curve P-256,
	// or an RSA key. Variables are expanded.
	Key string `yaml:"key"`
	// PasswordEnv names the variable with the password of the file of Key. Empty: COSIGN_PASSWORD.
	PasswordEnv string `yaml:"passwordEnv"`
	// Keyless signs with the identity of the CI run: Sigstore gives a certificate for its OIDC token.
	Keyless bool `yaml:"keyless"`
	// Services is a file relative to aksflow.yaml with a signing configuration of Sigstore: which servers give certificates
	// and keep logs. Empty: the public ones.
	Services string `yaml:"services"`
}

// Verify says what an image must have before it is deployed.
type Verify struct {
	// Require lists the kinds of proof: test, sbom, provenance, proved:ENVIRONMENT.
	Require []string `yaml:"require"`
	// Signers are those whose signatures count.
	Signers []Signer `yaml:"signers"`
	// Root is a file relative to aksflow.yaml with the trusted root of Sigstore that vouches for identities, also for those of
	// Gates. It may stand alone. Empty: the public one, which is fetched.
	Root string `yaml:"root"`
}

// Asks reports whether an image needs any proof. An environment without verify asks for none.
func (v *Verify) Asks() bool { return v != nil && len(v.Require) > 0 }

// Signer is somebody whose signature counts: a public key, or an identity.
type Signer struct {
	// Key is a file relative to aksflow.yaml with a public key in PEM.
	Key string `yaml:"key"`
	// Identity is a pattern for the subject of a certificate, such as the address of a workflow with its git ref: * matches
	// anything but a slash, ** anything. Issuer is the address of who vouched for it.
	Identity string `yaml:"identity"`
	Issuer   string `yaml:"issuer"`
	// Refs are patterns for the git ref of the run, such as refs/heads/main. Empty: any.
	Refs []string `yaml:"refs"`
	// For lists the kinds of proof that count; as those of Verify.Require. Empty: all.
	For []string `yaml:"for"`
}

// checkProof checks how proofs are signed and verified.
func (e *Environment) checkProof(k *checker, c *Config, field func(...any) []any) {
	if s := e.Sign; s != nil {
		if (s.Key == "") != s.Keyless {
			k.errorf(field("sign"), "want either key or keyless: true")
		}
		if s.Services != "" && !s.Keyless {
			k.errorf(field("sign", "services"), "want keyless: true beside it: a key needs no servers")
		}
		k.local(field("sign", "services"), s.Services)
	}
	v := e.Verify
	if v == nil {
		return
	}
	k.local(field("verify", "root"), v.Root)
	if v.Root != "" && len(v.Require) == 0 && len(v.Signers) == 0 {
		return
	}
	if len(v.Require) == 0 {
		k.errorf(field("verify", "require"), "missing: want kinds of proof, such as [test, sbom, provenance]")
	}
	if len(v.Signers) == 0 {
		k.errorf(field("verify", "signers"), "missing: name a key, or an identity and its issuer")
	}
	k.kinds(c, v.Require, field("verify", "require"))
	for i, s := range v.Signers {
		s.check(k, c, field("verify", "signers", i))
	}
}

func (s Signer) check(k *checker, c *Config, at []any) {
	if (s.Key == "") == (s.Identity == "") {
		k.errorf(at, "want either key, or identity and issuer")
		return
	}
	k.local(slices.Concat(at, []any{"key"}), s.Key)
	if s.Identity != "" && s.Issuer == "" {
		k.errorf(at, "missing: issuer, who vouches for the identity, such as https://token.actions.githubusercontent.com")
	}
	if s.Key != "" && (s.Issuer != "" || len(s.Refs) > 0) {
		k.errorf(at, "a key has no issuer and no git refs: leave them out, or name an identity")
	}
	for i, p := range append([]string{s.Identity}, s.Refs...) {
		if !doublestar.ValidatePattern(p) {
			key := []any{"identity"}
			if i > 0 {
				key = []any{"refs", i - 1}
			}
			k.errorf(slices.Concat(at, key), "%q is no pattern: quote it and check its brackets", p)
		}
	}
	k.kinds(c, s.For, slices.Concat(at, []any{"for"}))
}

// kinds checks the names of kinds of proof.
func (c *checker) kinds(of *Config, kinds []string, at []any) {
	for i, kind := range kinds {
		environment, proved := strings.CutPrefix(kind, ProofProved)
		switch {
		case proved && of.Environments[environment] == nil:
			c.errorf(slices.Concat(at, []any{i}), "%q: there is no environment %s: want one of %s", kind, environment, strings.Join(of.Names(), ", "))
		case !proved && !slices.Contains([]string{ProofTest, ProofSBOM, ProofProvenance}, kind):
			c.errorf(slices.Concat(at, []any{i}), "%q: want %s, %s, %s or %sENVIRONMENT", kind, ProofTest, ProofSBOM, ProofProvenance, ProofProved)
		}
	}
}
