// Package signing opens the keys that sign for an environment, and those that it trusts.
package signing

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/flow/access"
	"github.com/aksflow/aksflow/internal/proof"
)

// varKeyPassword holds the password of a key that cosign made.
const varKeyPassword = "COSIGN_PASSWORD"

// Keys are those of an environment.
type Keys struct {
	access.Source
	Env *delivery.Environment
	// Abs returns the path of a file that aksflow.yaml names.
	Abs func(string) string
	// Vault is nil where there is no login to Azure.
	Vault Vault
}

// Vault returns a key in Azure Key Vault.
type Vault func(ctx context.Context, address string) (crypto.Signer, error)

// As says who signs an approval or an override, in place of the environment's own key.
type As struct {
	// Key is a private key: a file, or the address of one in Azure Key Vault.
	Key string
	// Keyless signs with the identity of the CI run.
	Keyless bool
}

// Signer returns what signs the proofs of the environment; nil where they are not signed.
func (k Keys) Signer(ctx context.Context) (proof.Signer, error) {
	s := k.Env.Sign
	switch {
	case s == nil:
		return nil, nil
	case s.Keyless:
		return k.keyless(s)
	}
	return k.keySigner(ctx, s.Key, s.PasswordEnv, fmt.Sprintf("environments.%s.sign.key", k.Env.Name))
}

// keySigner signs with a key: a file, or the address of one in Azure Key Vault. What is the key of aksflow.yaml or the flag that
// names it.
func (k Keys) keySigner(ctx context.Context, name, passwordEnv, what string) (proof.Signer, error) {
	if strings.Contains(name, "://") {
		if k.Vault == nil {
			return nil, fault.Usagef("%s: there is no login to Azure here", what)
		}
		key, err := k.Vault(ctx, name)
		if err != nil {
			return nil, err
		}
		return proof.WithKey(name, key), nil
	}
	pem, err := os.ReadFile(k.Abs(name))
	if err != nil {
		return nil, fault.Usage(fmt.Errorf("%s: %w", what, err))
	}
	key, err := proof.ReadKey(pem, []byte(k.Variable(cmp.Or(passwordEnv, varKeyPassword))))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", what, name, err)
	}
	return proof.WithKey(name, key), nil
}

// keyless signs with the identity of the CI run.
func (k Keys) keyless(s *config.Sign) (proof.Signer, error) {
	if err := proof.CheckCIToken(k.Variables); err != nil {
		return nil, err
	}
	transport := k.Env.Network.Transport(http.DefaultTransport.(*http.Transport))
	way := proof.Keyless{Transport: transport, Token: func(ctx context.Context) (string, error) {
		return proof.CIToken(ctx, k.Variables, transport)
	}}
	if s.Services != "" {
		var err error
		if way.Services, err = os.ReadFile(k.Abs(s.Services)); err != nil {
			return nil, fault.Usage(fmt.Errorf("environments.%s.sign.services: %w", k.Env.Name, err))
		}
	}
	return way.Signer(), nil
}

// SignerAs returns what signs for a person; nil where nothing can.
func (k Keys) SignerAs(ctx context.Context, as As) (proof.Signer, error) {
	switch {
	case as.Key != "":
		return k.keySigner(ctx, as.Key, "", "--key")
	case as.Keyless:
		s := &config.Sign{Keyless: true}
		if k.Env.Sign != nil {
			s.Services = k.Env.Sign.Services
		}
		return k.keyless(s)
	}
	return k.Signer(ctx)
}

// Rules are what the environment asks of an image; nil where it asks nothing.
func (k Keys) Rules() (*proof.Rules, error) {
	v := k.Env.Verify
	if !v.Asks() {
		return nil, nil
	}
	rules := &proof.Rules{}
	for _, kind := range v.Require {
		rules.Require = append(rules.Require, proof.Kind(kind))
	}
	for i, s := range v.Signers {
		trusted, err := k.trusted(gate.Approver{Key: s.Key, Identity: s.Identity, Issuer: s.Issuer, Refs: s.Refs}, fmt.Sprintf("verify.signers[%d]", i))
		if err != nil {
			return nil, err
		}
		for _, kind := range s.For {
			trusted.For = append(trusted.For, proof.Kind(kind))
		}
		rules.Signers = append(rules.Signers, trusted)
	}
	return rules, k.readRoot(&rules.Trust)
}

// trusted is somebody whose signature counts, whom a key of the environment names.
func (k Keys) trusted(who gate.Approver, key string) (proof.Trusted, error) {
	trusted := proof.Trusted{Identity: who.Identity, Issuer: who.Issuer, Refs: who.Refs, KeyName: who.Key}
	if who.Key == "" {
		return trusted, nil
	}
	pem, err := os.ReadFile(k.Abs(who.Key))
	if err != nil {
		return trusted, fault.Usage(fmt.Errorf("environments.%s.%s.key: %w", k.Env.Name, key, err))
	}
	if trusted.Key, err = proof.ReadPublicKey(pem); err != nil {
		return trusted, fmt.Errorf("environments.%s.%s.key: %s: %w", k.Env.Name, key, who.Key, err)
	}
	return trusted, nil
}

// readRoot reads what vouches for identities, if the trust has any.
func (k Keys) readRoot(t *proof.Trust) (err error) {
	if !slices.ContainsFunc(t.Signers, func(s proof.Trusted) bool { return s.Identity != "" }) {
		return nil
	}
	var content []byte
	if v := k.Env.Verify; v != nil && v.Root != "" {
		if content, err = os.ReadFile(k.Abs(v.Root)); err != nil {
			return fault.Usage(fmt.Errorf("environments.%s.verify.root: %w", k.Env.Name, err))
		}
	}
	t.Root, err = proof.ReadRoot(content)
	return err
}

// trust returns whose signatures count, of those whom a key of the environment lists.
func (k Keys) trust(list []gate.Approver, key string) (proof.Trust, error) {
	t := proof.Trust{}
	for i, who := range list {
		trusted, err := k.trusted(who, fmt.Sprintf("%s[%d]", key, i))
		if err != nil {
			return t, err
		}
		t.Signers = append(t.Signers, trusted)
	}
	return t, k.readRoot(&t)
}

// Approvers are those whose signed approvals count.
func (k Keys) Approvers() (proof.Trust, error) {
	return k.trust(k.Env.Gates.Approve.Signed.By, "gates.approve.signed.by")
}

// Overriders are those whose signed overrides count: they open gates that are closed.
func (k Keys) Overriders() (proof.Trust, error) {
	return k.trust(k.Env.Gates.Override.By, "gates.override.by")
}

// Trust returns whose approvals or overrides of a kind count: nobody's where the environment asks for none, or where they
// are for another environment.
func (k Keys) Trust(kind proof.Kind) (proof.Trust, error) {
	gates := k.Env.Gates
	switch {
	case kind == proof.ApprovalOf(k.Env.Name) && gates.Approve != nil && gates.Approve.Signed != nil:
		return k.Approvers()
	case kind == proof.OverrideOf(k.Env.Name) && gates.Override != nil:
		return k.Overriders()
	}
	return proof.Trust{}, nil
}
