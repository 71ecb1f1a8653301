package build

import "time"

// The properties of a report about tests that did not run again.
const (
	rememberedProperty = "aksflow.remembered"
	runProperty        = "aksflow.run"
	timeProperty       = "aksflow.time"
)

// Remembered returns the results of tests that an image passed in an earlier run, whose page is runURL, "" for none. Each suite
// has one report. Its properties say that no test ran, and which run the results are of; how long a test took is not in it. A
// test of a suite that is not known counts as a unit test.
func Remembered(cases []Case, runURL string, at time.Time) *Results {
	bySuite := map[string][]Case{}
	for _, c := range cases {
		if c.Suite != Integration {
			c.Suite = Unit
		}
		bySuite[c.Suite] = append(bySuite[c.Suite], c)
	}
	results := &Results{}
	for _, name := range []string{Unit, Integration} {
		cases := bySuite[name]
		if len(cases) == 0 {
			continue
		}
		s := newJUnitSuite(name, cases)
		s.Time = at.UTC().Format("2006-01-02T15:04:05")
		properties := []junitProperty{{rememberedProperty, "true"}, {timeProperty, at.UTC().Format(time.RFC3339)}}
		if runURL != "" {
			properties = append(properties, junitProperty{runProperty, runURL})
		}
		s.Properties = &junitProperties{properties}
		results.Suites = append(results.Suites, SuiteResult{Name: name, Cases: cases, Reports: map[string][]byte{name + ".xml": s.file()}})
	}
	return results
}
