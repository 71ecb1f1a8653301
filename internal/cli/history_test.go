package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

func TestHistoryText(t *testing.T) {
	when := time.Date(2026, 3, 4, 15, 6, 7, 0, time.Local)
	digest := strings.Repeat("0123456789abcdef", 4)
	var out strings.Builder
	historyResult{&delivery.History{Revisions: []delivery.Revision{
		{Number: 2, Status: "failed", User: "ann@laptop", Time: when, Image: "localhost:5000/team/vote@sha256:" + digest, SourceRevision: strings.Repeat("c0ffee", 7)[:40], Message: "Deployment/vote: it crashed\n  | twice"},
		{Number: 1, Status: "deployed", User: "ci", Time: when, Image: "registry.example/vote:1.4@sha256:" + digest, SourceRevision: strings.Repeat("c0ffee", 7)[:40] + "-dirty"},
	}}}.Text(&out)
	assert.Equal(t, strings.Join([]string{
		"REVISION   STATUS     WHEN                  WHO          SOURCE               IMAGE",
		"2          failed     2026-03-04 15:06:07   ann@laptop   c0ffeec0ffee         vote@sha256:0123456789ab       Deployment/vote: it crashed",
		"1          deployed   2026-03-04 15:06:07   ci           c0ffeec0ffee-dirty   vote:1.4@sha256:0123456789ab",
	}, "\n"), strings.TrimRight(out.String(), "\n"))

	out.Reset()
	historyResult{&delivery.History{}}.Text(&out)
	assert.Empty(t, out.String())
}
