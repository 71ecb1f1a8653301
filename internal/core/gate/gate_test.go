package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestSoak(t *testing.T) {
	now := at(t, "2026-11-26T12:00:00Z")
	for _, tc := range []struct {
		soak    time.Duration
		healthy time.Duration // -1: it is not
		open    bool
		message string
	}{
		{30 * time.Minute, 30 * time.Minute, true, "healthy in staging for 30m of 30m"},
		{30 * time.Minute, 12*time.Minute + 500*time.Millisecond, false, "healthy in staging for 12m of 30m: opens at 2026-11-26 12:17 UTC"},
		{30 * time.Minute, -1, false, "staging is not healthy: Deployment/vote: crash"},
		{48 * time.Hour, 47*time.Hour + 59*time.Minute + time.Second, false, "healthy in staging for 47h59m of 48h: opens at 2026-11-26 12:00 UTC"},
	} {
		f := Facts{Now: now, From: "staging", HealthySince: now.Add(-tc.healthy), Unhealthy: "Deployment/vote: crash"}
		if tc.healthy < 0 {
			f.HealthySince = time.Time{}
		}
		verdicts := Gates{Soak: tc.soak}.Check(f)
		assert.Len(t, verdicts, 1)
		assert.Equal(t, tc.open, verdicts[0].Open, tc.message)
		assert.Equal(t, tc.message, verdicts[0].Message)
		assert.Equal(t, tc.open, len(Closed(verdicts)) == 0)
	}
}

func TestFreeze(t *testing.T) {
	weekend := Freeze{Schedule: "0 15 * * FRI", Duration: 63 * time.Hour, TimeZone: "Europe/Berlin", Reason: "weekend", Except: []string{"hotfix/*"}}
	christmas := Freeze{From: "2026-12-20", To: "2027-01-03", TimeZone: "Europe/Berlin", Reason: "Christmas"}
	for _, tc := range []struct {
		name   string
		freeze []Freeze
		now    string
		branch string
		opens  string // "": open
	}{
		{"Thursday", []Freeze{weekend}, "2026-11-26T12:00:00Z", "", ""},
		{"Friday, a minute before, in Berlin", []Freeze{weekend}, "2026-11-27T13:59:00Z", "", ""},
		{"Friday afternoon", []Freeze{weekend}, "2026-11-27T14:00:00Z", "", "2026-11-30T05:00:00Z"},
		{"Sunday", []Freeze{weekend}, "2026-11-29T12:00:00Z", "release/1.2.0", "2026-11-30T05:00:00Z"},
		{"Monday at six, in Berlin", []Freeze{weekend}, "2026-11-30T05:00:00Z", "", ""},
		{"a hotfix on Sunday", []Freeze{weekend}, "2026-11-29T12:00:00Z", "hotfix/1.2.1", ""},
		{"the weekend in which the clocks change", []Freeze{weekend}, "2026-10-24T12:00:00Z", "", "2026-10-26T04:00:00Z"},
		{"before Christmas", []Freeze{christmas}, "2026-12-19T22:59:00Z", "", ""},
		{"Christmas", []Freeze{christmas}, "2026-12-19T23:00:00Z", "hotfix/1.2.1", "2027-01-03T23:00:00Z"},
		{"the last day", []Freeze{christmas}, "2027-01-03T22:59:00Z", "", "2027-01-03T23:00:00Z"},
		{"after", []Freeze{christmas}, "2027-01-03T23:00:00Z", "", ""},
		{"weekends run into Christmas and out of it", []Freeze{weekend, christmas}, "2026-12-18T15:00:00Z", "", "2027-01-04T05:00:00Z"},
		{"minutes, in UTC", []Freeze{{From: "2026-11-26 10:00", To: "2026-11-26 10:30"}}, "2026-11-26T10:29:00Z", "", "2026-11-26T10:30:00Z"},
		{"after the last minute", []Freeze{{From: "2026-11-26 10:00", To: "2026-11-26 10:30"}}, "2026-11-26T10:30:00Z", "", ""},
		{"windows of a schedule that overlap", []Freeze{{Schedule: "0 * * * *", Duration: 90 * time.Minute}}, "2026-11-26T10:10:00Z", "", "never"},
		{"every night", []Freeze{{Schedule: "0 22 * * *", Duration: 8 * time.Hour}}, "2026-11-26T03:00:00Z", "", "2026-11-26T06:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := Gates{Freeze: tc.freeze}
			assert.Empty(t, g.Validate())
			v := g.Check(Facts{Now: at(t, tc.now), Branch: tc.branch})[0]
			assert.Equal(t, tc.opens == "", v.Open, v.Message)
			switch tc.opens {
			case "":
			case "never":
				assert.Zero(t, v.Opens)
				assert.Contains(t, v.Message, "it never opens")
			default:
				assert.Equal(t, tc.opens, v.Opens.UTC().Format(time.RFC3339), v.Message)
			}
		})
	}
	v := Gates{Freeze: []Freeze{weekend}}.Check(Facts{Now: at(t, "2026-11-29T12:00:00Z")})[0]
	assert.Equal(t, "frozen (weekend): opens at 2026-11-30 06:00 CET, for images of hotfix/* at once", v.Message)
}

func TestNoGates(t *testing.T) {
	assert.Empty(t, Gates{}.Check(Facts{}))
	assert.True(t, Gates{}.IsZero())
	assert.False(t, Gates{Soak: 1}.IsZero())
}

func TestValidate(t *testing.T) {
	for want, g := range map[string]Gates{
		"-1s: want a time such as 30m":                               {Soak: -time.Second},
		"want either schedule and duration, or from and to":          {Freeze: []Freeze{{}}},
		`timeZone "Mars/Base" is not known`:                          {Freeze: []Freeze{{Schedule: "0 1 * * *", Duration: 1, TimeZone: "Mars/Base"}}},
		`schedule "at noon": want minute, hour, day of month, month`: {Freeze: []Freeze{{Schedule: "at noon", Duration: 1}}},
		"want schedule with duration, such as 63h":                   {Freeze: []Freeze{{Schedule: "0 1 * * *"}}},
		"want from with to: duration belongs to schedule":            {Freeze: []Freeze{{From: "2026-12-20", Duration: 1}}},
		`to: "": want a day, 2026-12-20, or a minute`:                {Freeze: []Freeze{{From: "2026-12-20"}}},
		`from: "20.12.2026": want a day`:                             {Freeze: []Freeze{{From: "20.12.2026", To: "2026-12-21"}}},
		`to "2026-12-19" is not after from "2026-12-20"`:             {Freeze: []Freeze{{From: "2026-12-20", To: "2026-12-19"}}},
		`"[" is no pattern`:                                          {Freeze: []Freeze{{From: "2026-12-20", To: "2026-12-20", Except: []string{"["}}}},
	} {
		problems := g.Validate()
		if assert.Len(t, problems, 1, want) {
			assert.ErrorContains(t, problems[0].Err, want)
		}
	}
}
