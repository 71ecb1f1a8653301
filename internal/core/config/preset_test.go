package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFromAndFlowAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"flow: gitflo\nenvironments: {dev: {registry: r, manifests: m}}":                                                                    `aksflow.yaml:2:7: flow: "gitflo": want gitflow or github or trunk`,
		"flow: gitflow\nenvironments: {test: {registry: r, manifests: m}}":                                                                  "flow: gitflow delivers to the environments dev, production, staging, and none of them is here",
		"environments:\n  staging: {registry: r, manifests: m}\n  production: {registry: r, manifests: m, from: stagin}":                    "aksflow.yaml:4:49: environments.production.from: there is no environment stagin to promote from: want one of staging",
		"environments:\n  production: {registry: r, manifests: m, from: production}":                                                        "production is promoted from production: an image would never be built",
		"environments:\n  a: {registry: r, manifests: m, from: b}\n  b: {registry: r, manifests: m, from: a}":                               "a is promoted from b is promoted from a: an image would never be built: remove one from",
		"flow: gitflow\nenvironments:\n  staging: {registry: r, manifests: m, from: production}\n  production: {registry: r, manifests: m}": "an image would never be built",
	} {
		_, err := Parse("aksflow.yaml", []byte("app: vote\n"+text+"\n"))
		assert.ErrorContains(t, err, want, text)
	}
}
