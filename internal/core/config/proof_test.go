package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProofIsChecked(t *testing.T) {
	const environment = "environments:\n  dev:\n    registry: r\n    manifests: m\n"
	for text, want := range map[string]string{
		"    sign: {}":                                                           "aksflow.yaml:6:11: environments.dev.sign: want either key or keyless: true",
		"    sign: {key: a, keyless: true}":                                      "environments.dev.sign: want either key or keyless: true",
		"    sign: {key: a, services: s}":                                        "environments.dev.sign.services: want keyless: true beside it",
		"    verify: {signers: [{key: a}]}":                                      "environments.dev.verify.require: missing",
		"    verify: {root: ../a}":                                               `leaves the directory`,
		"    verify: {root: a, require: [test]}":                                 "environments.dev.verify.signers: missing",
		"    verify: {require: [test]}":                                          "environments.dev.verify.signers: missing",
		"    verify: {require: [tests], signers: [{key: a}]}":                    `environments.dev.verify.require[0]: "tests": want test, sbom, provenance or proved:ENVIRONMENT`,
		"    verify: {require: [proved:prod], signers: [{key: a}]}":              `there is no environment prod: want one of dev`,
		"    verify: {require: [test], signers: [{}]}":                           "environments.dev.verify.signers[0]: want either key, or identity and issuer",
		"    verify: {require: [test], signers: [{identity: a}]}":                "missing: issuer",
		"    verify: {require: [test], signers: [{key: a, refs: [b]}]}":          "a key has no issuer and no git refs",
		"    verify: {require: [test], signers: [{key: a, for: [x]}]}":           `environments.dev.verify.signers[0].for[0]: "x"`,
		"    verify: {require: [test], signers: [{identity: '[', issuer: i}]}":   `environments.dev.verify.signers[0].identity: "[" is no pattern`,
		"    verify: {require: [test], signers: [{key: ../a}]}":                  `leaves the directory`,
		"    verify: {require: [proved:dev, sbom], signers: [{key: a}], rot: a}": "unknown key",
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\n"+environment+text+"\n"))
		assert.ErrorContains(t, err, want, text)
	}
	_, err := Parse("aksflow.yaml", []byte("app: vote\n"+environment+`
    sign: {key: "azurekms://v.vault.azure.net/k"}
    verify:
      require: [test, proved:dev]
      signers:
        - {key: ci.pub, for: [test]}
        - {identity: "https://github.com/team/**", issuer: "https://token.actions.githubusercontent.com", refs: [refs/heads/main]}
`))
	assert.NoError(t, err)
	c, err := Parse("aksflow.yaml", []byte("app: vote\n"+environment+"    verify: {root: sigstore.json}\n"))
	require.NoError(t, err, "for the identities of gates only")
	assert.False(t, c.Environments["dev"].Verify.Asks())
}
