package evidence

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/proof"
	"github.com/aksflow/aksflow/internal/target"
)

// The soak is counted from the last of what began it: that the image proved, that it was delivered, that nothing in the cluster
// had a problem. A withdrawal in between makes it begin anew.
func TestSinceWhenAnImageIsHealthy(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	ago := func(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }
	proved := func(minutes int) proof.Record {
		return proof.Record{Environment: "staging", Status: proof.StatusProved, Time: ago(minutes)}
	}
	withdrawn := func(minutes int) proof.Record {
		return proof.Record{Environment: "staging", Status: proof.StatusWithdrawn, Time: ago(minutes)}
	}
	for _, tc := range []struct {
		name    string
		records []proof.Record
		running int // delivered so many minutes ago
		healthy int // without a problem since
		want    int
	}{
		{"delivered and proved", []proof.Record{proved(60)}, 61, 61, 60},
		{"proved again by a later delivery of the same", []proof.Record{proved(60), proved(10)}, 61, 61, 60},
		{"delivered again, as after a rollback and back", []proof.Record{proved(60)}, 20, 20, 20},
		{"a pod crashed", []proof.Record{proved(60)}, 61, 5, 5},
		{"withdrawn, and proved again", []proof.Record{proved(60), withdrawn(30), proved(15)}, 61, 61, 15},
		{"withdrawn twice", []proof.Record{proved(90), withdrawn(60), proved(50), withdrawn(30), proved(20), proved(10)}, 95, 95, 20},
		{"another environment's withdrawal", []proof.Record{proved(60), {Environment: "dev", Status: proof.StatusWithdrawn, Time: ago(30)}}, 61, 61, 60},
		{"records in another order", []proof.Record{proved(15), proved(60), withdrawn(30)}, 61, 61, 15},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &Candidate{
				From: "staging", Running: target.Running{Since: ago(tc.running)}, Health: target.Health{Since: ago(tc.healthy)}, Found: &proof.Found{},
			}
			for _, r := range tc.records {
				raw, err := json.Marshal(r)
				require.NoError(t, err)
				c.Found.Proofs = append(c.Found.Proofs, proof.Proof{Kind: proof.Proved(r.Environment), PredicateType: proof.EnvironmentType, Predicate: raw})
			}
			records, err := c.Counted().Records("staging")
			require.NoError(t, err)
			c.Record = records[0]
			assert.Equal(t, ago(tc.want), c.Facts(now).HealthySince)
			c.Health.Problem = "Pod vote-1: it crashes"
			assert.Zero(t, c.Facts(now).HealthySince, "it is not healthy now")
		})
	}
}
