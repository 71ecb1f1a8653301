package main

import (
	"context"
	"errors"
	"slices"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/config"
)

// signingKeyPath is where the program's container has the private key of with-signer.
const signingKeyPath = "/run/secrets/signing-key"

// Sign what aksflow.yaml says is signed, and approvals and overrides
func (m *AksFlow) WithSigner(
	// The private key for approvals and overrides, in place of what signs for the environment: file:PATH
	// +optional
	key *dagger.Secret,
	// The password of the private key, also of that of an environment: env:COSIGN_PASSWORD
	// +optional
	password *dagger.Secret,
	// The OIDC token of the CI run for the audience sigstore, for what is signed without a key: env:SIGSTORE_ID_TOKEN
	// +optional
	token *dagger.Secret,
	// Where a job of GitHub Actions asks for that token instead: $ACTIONS_ID_TOKEN_REQUEST_URL
	// +optional
	requestUrl string,
	// What it asks with: env:ACTIONS_ID_TOKEN_REQUEST_TOKEN
	// +optional
	requestToken *dagger.Secret,
) (*AksFlow, error) {
	identity := token != nil || requestToken != nil
	switch {
	case (requestUrl == "") != (requestToken == nil):
		return nil, errors.New("with-signer: --request-url and --request-token go together")
	case key == nil && password == nil && !identity:
		return nil, errors.New("with-signer: give --key, --password, --token, or --request-url and --request-token")
	}
	with := *m
	with.SigningKey, with.SigningPassword, with.SigningToken = key, password, token
	with.SigningRequestURL, with.SigningRequestToken = requestUrl, requestToken
	return &with, nil
}

// withSigner gives the container what signs, under the names that the aksflow command reads.
func (m *AksFlow) withSigner(c *dagger.Container, cfg *config.Config) *dagger.Container {
	if m.SigningKey != nil {
		c = c.WithMountedSecret(signingKeyPath, m.SigningKey)
	}
	if m.SigningPassword != nil {
		c = c.WithSecretVariable("COSIGN_PASSWORD", m.SigningPassword)
		for _, env := range cfg.Environments {
			if env.Sign != nil && env.Sign.PasswordEnv != "" {
				c = c.WithSecretVariable(env.Sign.PasswordEnv, m.SigningPassword)
			}
		}
	}
	if m.SigningToken != nil {
		c = c.WithSecretVariable("SIGSTORE_ID_TOKEN", m.SigningToken)
	}
	if m.SigningRequestToken != nil {
		c = c.WithEnvVariable("ACTIONS_ID_TOKEN_REQUEST_URL", m.SigningRequestURL).
			WithSecretVariable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", m.SigningRequestToken)
	}
	return c
}

// signer returns the flags for who signs an approval or an override; none means the environment's own key.
func (m *AksFlow) signer() []string {
	switch {
	case m.SigningKey != nil:
		return flags("--key", signingKeyPath)
	case m.SigningToken != nil || m.SigningRequestToken != nil:
		return []string{"--keyless"}
	}
	return nil
}

// Bring what the environment before runs and proved to an environment: the same digest, nothing is built
//
// Its gates must be open, unless somebody whom gates.override lists opens them with --override.
//
// +cache="never"
func (m *AksFlow) Promote(
	ctx context.Context,

	// The environment of aksflow.yaml that gets the image
	to string,

	// Promote though gates are closed, for this reason; with-signer signs it
	// +optional
	override string,

	// Record first that the image proved in the environment before, for this reason, where no program saw it run
	// +optional
	provedByHand string,

	// Further flags of aksflow promote, such as --hold or --timeout=10m
	// +optional
	flag []string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	var signer []string
	if override != "" {
		signer = m.signer()
	}
	args := flags("--to", to, "--override", override, "--proved-by-hand", provedByHand)
	return m.onCluster(ctx, "promote", to, format, slices.Concat(args, m.login(), signer, flag)...)
}

// Sign that an image may be promoted to an environment, and attach that to it
//
// It is for environments with gates.approve.signed, which lists the keys and identities that count. with-signer gives what signs.
//
// +cache="never"
func (m *AksFlow) Approve(
	ctx context.Context,

	// The environment of aksflow.yaml that the image may go to
	env string,

	// The image, HOST/REPOSITORY@sha256:…. Without it: what the environment before runs
	// +optional
	image string,

	// Why, for the record
	// +optional
	reason string,

	// Take an approval back that was signed by the same key or identity
	// +optional
	revoke bool,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	args := flags("--env", env, "--image", image, "--reason", reason)
	return m.onCluster(ctx, "approve", env, format, slices.Concat(args, given("--revoke", revoke), m.login(), m.signer())...)
}

// Show what is attached to an image: tests, SBOM, provenance, environments, and who signed it
//
// Fails if the rules of the environment refuse the image.
//
// +cache="never"
func (m *AksFlow) Verify(
	ctx context.Context,

	// The image: HOST/REPOSITORY@sha256:…, or with a tag
	image string,

	// The environment of aksflow.yaml whose rules are applied (verify). Without it nothing is verified
	// +optional
	env string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	out, err := c.run(ctx, "verify", slices.Concat(flags("--env", env), m.login(), []string{image})...)
	if err != nil {
		return "", err
	}
	return out.in(format), nil
}
