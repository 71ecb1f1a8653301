package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/page"
)

func TestProofsOfAPage(t *testing.T) {
	assert.Nil(t, proofs(nil))
	at := time.Date(2026, 2, 3, 4, 5, 0, 0, time.UTC)
	assert.Equal(t, []page.Proof{
		{Kind: "provenance", By: "ci.pub", Message: "built from 1a2b, 2026-02-03 04:05 UTC", Verified: true},
		{Kind: "SBOM", By: "a key", Message: "3 packages; it does not count: its signature is not one of ci.pub"},
		{Kind: "tests", Message: "passed: 2 passed"},
		{Kind: "record of staging", By: "ci.pub", Message: "proved at 2026-02-03 04:05 UTC: deploy", Verified: true},
		{Kind: "unreadable", Message: "it is no in-toto statement"},
	}, proofs(&delivery.Verified{
		Proofs: []delivery.Proof{
			{Kind: "provenance", Says: "built from 1a2b", Signed: "a key", By: "ci.pub", Time: at},
			{Kind: "sbom", Says: "3 packages", Signed: "a key", Why: "its signature is not one of ci.pub"},
			{Kind: "test", Says: "passed: 2 passed"},
			{Kind: "proved:staging", Says: "proved at 2026-02-03 04:05 UTC: deploy", Signed: "a key", By: "ci.pub", Time: at},
		},
		Problems: []string{"it is no in-toto statement"},
	}))
}
