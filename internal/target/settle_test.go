package target

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

func TestSettle(t *testing.T) {
	const repository = "r.example/team/vote"
	digest, other := "@sha256:"+strings.Repeat("a", 64), "@sha256:"+strings.Repeat("b", 64)
	for name, test := range map[string]struct {
		now, next string
		stays     bool
	}{
		"another commit of a branch":         {repository + ":0.0.0-develop.g1a2b3c4" + digest, repository + ":0.0.0-develop.g5a2b3c4" + digest, true},
		"another commit of a candidate":      {repository + ":1.2.0-rc.g1a2b3c4" + digest, repository + ":1.2.0-rc.g5a2b3c4" + digest, true},
		"a digest alone":                     {repository + digest, repository + ":0.0.0-develop.g5a2b3c4" + digest, true},
		"another image":                      {repository + ":0.0.0-develop.g1a2b3c4" + other, repository + ":0.0.0-develop.g5a2b3c4" + digest, false},
		"another repository":                 {"r.example/old/vote:0.0.0-develop.g1a2b3c4" + digest, repository + ":0.0.0-develop.g5a2b3c4" + digest, false},
		"a branch becomes a candidate":       {repository + ":0.0.0-develop.g1a2b3c4" + digest, repository + ":1.2.0-rc.g5a2b3c4" + digest, false},
		"a candidate becomes a release":      {repository + ":1.2.0-rc.g1a2b3c4" + digest, repository + ":1.2.0" + digest, false},
		"a digest alone becomes a release":   {repository + digest, repository + ":1.2.0" + digest, false},
		"a release, and then a branch again": {repository + ":1.2.0" + digest, repository + ":0.0.0-develop.g5a2b3c4" + digest, false},
		"nothing runs":                       {"", repository + ":0.0.0-develop.g5a2b3c4" + digest, false},
		"a tag without a digest":             {repository + ":0.0.0-develop.g1a2b3c4", repository + ":0.0.0-develop.g5a2b3c4", false},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.next
			if test.stays {
				want = test.now
			}
			assert.Equal(t, want, Settle(ref.Read(test.now), ref.Read(test.next)).String())
		})
	}
}
