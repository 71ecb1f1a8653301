package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestApprove(t *testing.T) {
	now := at(t, "2026-11-26T12:00:00Z")
	ann := Approval{By: "ann.pub", Time: now.Add(-time.Hour), Reason: "looked\n at it"}
	bob := Approval{By: "bob.pub", Time: now.Add(-2 * time.Hour)}
	with := func(given ...Approval) Approvals {
		return Approvals{Given: given, How: "ann.pub or bob.pub may approve"}
	}
	signed := func(count int, maxAge time.Duration) Approve {
		return Approve{Signed: &Signed{Count: count, MaxAge: maxAge, By: []Approver{{Key: "ann.pub"}, {Key: "bob.pub"}}}}
	}
	for _, tc := range []struct {
		name    string
		approve Approve
		way     string
		known   Approvals
		open    bool
		message string
	}{
		{"nobody did", signed(0, 0), BySigned, with(), false, "0 of 1: ann.pub or bob.pub may approve"},
		{"one did", signed(0, 0), BySigned, with(ann), true, "approved by ann.pub at 2026-11-26 11:00 UTC: looked at it"},
		{"one of two", signed(2, 0), BySigned, with(bob), false, "1 of 2 (bob.pub at 2026-11-26 10:00 UTC): ann.pub or bob.pub may approve"},
		{"one twice is not two", signed(2, 0), BySigned, with(bob, bob), false, "1 of 2 (bob.pub at 2026-11-26 10:00 UTC): ann.pub or bob.pub may approve"},
		{"two", signed(2, 0), BySigned, with(ann, bob), true, "approved by ann.pub at 2026-11-26 11:00 UTC: looked at it, bob.pub at 2026-11-26 10:00 UTC"},
		{"as old as it may be", signed(1, time.Hour), BySigned, with(ann), true, "approved by ann.pub at 2026-11-26 11:00 UTC: looked at it"},
		{"too old", signed(1, 59*time.Minute), BySigned, with(ann), false,
			"0 of 1: ann.pub or bob.pub may approve (what does not count: that of ann.pub at 2026-11-26 11:00 UTC: looked at it is older than 59m)"},
		{"an old one beside a new one", signed(1, 90*time.Minute), BySigned, with(bob, Approval{By: "bob.pub", Time: now}), true, "approved by bob.pub at 2026-11-26 12:00 UTC"},
		{"from the future", signed(1, 0), BySigned, with(Approval{By: "ann.pub", Time: now.Add(6 * time.Minute)}), false,
			"0 of 1: ann.pub or bob.pub may approve (what does not count: that of ann.pub at 2026-11-26 12:06 UTC is dated in the future)"},
		{"from a clock that is ahead", signed(1, time.Hour), BySigned, with(Approval{By: "ann.pub", Time: now.Add(4 * time.Minute)}), true, "approved by ann.pub at 2026-11-26 12:04 UTC"},
		{"somebody is against it", Approve{PullRequest: 1}, ByPullRequest, Approvals{Given: []Approval{{By: "ann"}}, Against: []string{"bob asks for changes"}, How: "ask"}, false,
			"1 of 1 (ann): bob asks for changes; ask"},
		{"a run", Approve{GitHub: "production"}, ByGitHub, Approvals{Given: []Approval{{By: "ann"}}}, true, "approved by ann"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdicts := Gates{Approve: &tc.approve}.Check(Facts{Now: now, Approvals: map[string]Approvals{tc.way: tc.known}})
			require.Len(t, verdicts, 1)
			assert.Equal(t, Verdict{Gate: "approve", Open: tc.open, Message: tc.message}, verdicts[0])
		})
	}
}

// Each way that is asked for is a gate: what is known about one opens no other.
func TestWaysAreGatesOfTheirOwn(t *testing.T) {
	g := Gates{Approve: &Approve{GitHub: "production", PullRequest: 2, Signed: &Signed{By: []Approver{{Key: "a"}}}}}
	verdicts := g.Check(Facts{Now: time.Now(), Approvals: map[string]Approvals{ByGitHub: {Given: []Approval{{By: "ann"}, {By: "bob"}}}}})
	require.Len(t, verdicts, 3)
	assert.Len(t, Closed(verdicts), 2)
	Pass(verdicts, "on-call.pub", "the shop\nis down")
	assert.Empty(t, Closed(verdicts))
	assert.Equal(t, []string{"", "on-call.pub: the shop is down", "on-call.pub: the shop is down"},
		[]string{verdicts[0].Override, verdicts[1].Override, verdicts[2].Override})
	assert.False(t, verdicts[1].Open, "it stays closed: somebody passed it")
}

func TestDescribe(t *testing.T) {
	g := Gates{
		Soak:     30 * time.Minute,
		Freeze:   []Freeze{{Schedule: "0 15 * * FRI", Duration: 63 * time.Hour, TimeZone: "Europe/Berlin", Except: []string{"hotfix/*"}, Reason: "weekend"}, {From: "2026-12-20", To: "2027-01-03"}},
		Approve:  &Approve{GitHub: "production", PullRequest: 2, Signed: &Signed{MaxAge: 24 * time.Hour, By: []Approver{{Key: "ann.pub"}, {Identity: "https://ci/*"}}}},
		Override: &Override{By: []Approver{{Key: "on-call.pub"}}},
	}
	assert.Equal(t, []string{
		"soak: healthy for 30m",
		`freeze: 63h from each "0 15 * * FRI" in Europe/Berlin, not for hotfix/* (weekend)`,
		"freeze: 2026-12-20 to 2027-01-03 in UTC",
		"approve: the reviewers of GitHub's environment production",
		"approve: 2 approving reviews of the pull request that brought the commit",
		"approve: 1 signature by ann.pub or https://ci/*, not older than 24h",
		"override: by on-call.pub",
	}, g.Describe())
	assert.Empty(t, Gates{}.Describe())
}

func TestValidateApprovals(t *testing.T) {
	ann := []Approver{{Key: "ann.pub"}}
	for want, g := range map[string]Gates{
		"want github, pullRequest or signed":                          {Approve: &Approve{}},
		"-1: want the number of people who must approve":              {Approve: &Approve{PullRequest: -1, GitHub: "production"}},
		"missing: name a key, or an identity and its issuer":          {Approve: &Approve{Signed: &Signed{}}},
		"-1: want a number such as 2":                                 {Approve: &Approve{Signed: &Signed{By: ann, Count: -1}}},
		"2: there are only 1 keys in by, and each counts once":        {Approve: &Approve{Signed: &Signed{By: ann, Count: 2}}},
		"-1s: want a time such as 24h":                                {Approve: &Approve{Signed: &Signed{By: ann, MaxAge: -time.Second}}},
		"want either key, or identity and issuer":                     {Approve: &Approve{Signed: &Signed{By: []Approver{{}}}}},
		"a key has no issuer":                                         {Approve: &Approve{Signed: &Signed{By: []Approver{{Key: "a", Issuer: "b"}}}}},
		"missing: issuer, who vouches for the identity":               {Approve: &Approve{Signed: &Signed{By: []Approver{{Identity: "a"}}}}},
		`"[" is no pattern`:                                           {Approve: &Approve{Signed: &Signed{By: []Approver{{Identity: "[", Issuer: "b"}}}}},
		`"../ann.pub" leaves the directory`:                           {Approve: &Approve{Signed: &Signed{By: []Approver{{Key: "../ann.pub"}}}}},
		"there is no gate that it opens: add soak, freeze or approve": {Override: &Override{By: ann}},
	} {
		problems := g.Validate()
		if assert.Len(t, problems, 1, want) {
			assert.ErrorContains(t, problems[0].Err, want)
		}
	}
	assert.Empty(t, Gates{Soak: 1, Override: &Override{By: ann}, Approve: &Approve{Signed: &Signed{By: []Approver{{Identity: "a/*", Issuer: "b"}}, Count: 2}}}.Validate(),
		"a pattern stands for several people")
	assert.False(t, Gates{Approve: &Approve{}}.IsZero())
}
