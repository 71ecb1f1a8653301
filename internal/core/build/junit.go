package build

import (
	"encoding/xml"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/joshdk/go-junit"
)

// parse reads the tests of a JUnit XML file, of whatever depth of suites.
func parse(suite string, data []byte) ([]Case, error) {
	suites, err := junit.Ingest(data)
	if err != nil {
		return nil, err
	}
	if len(suites) == 0 {
		return nil, errors.New("it holds no test suite")
	}
	var cases []Case
	var walk func([]junit.Suite)
	walk = func(suites []junit.Suite) {
		for _, s := range suites {
			walk(s.Suites)
			for _, t := range s.Tests {
				c := Case{
					Suite:   suite,
					Class:   t.Classname,
					Name:    t.Name,
					Status:  Status(t.Status),
					Message: firstLine(t.Message),
					Elapsed: t.Duration,
				}
				if t.Error != nil {
					c.Detail = t.Error.Error()
				}
				if c.Message == "" {
					c.Message = firstLine(c.Detail)
				}
				c.File, c.Line = place(c.Detail)
				cases = append(cases, c)
			}
		}
	}
	walk(suites)
	return cases, nil
}

// traceLine is how pytest, Go, Node.js and compilers name a place in what they print of a failure.
var traceLine = regexp.MustCompile(`(?m)^\s*([^\s:]+):([0-9]+):`)

// place finds where a test failed: the innermost place in its trace that is the project's own and not a library's. The
// attributes that some runners write are no help: they name the test's first line, counted from 0 or from 1.
func place(trace string) (file string, line int) {
	for _, m := range slices.Backward(traceLine.FindAllStringSubmatch(trace, -1)) {
		if n, err := strconv.Atoi(m[2]); err == nil && filepath.IsLocal(m[1]) {
			return m[1], n
		}
	}
	return "", 0
}

// compose writes a JUnit XML file with one test, which could not run.
func compose(c Case) []byte {
	type problem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type test struct {
		Class string  `xml:"classname,attr"`
		Name  string  `xml:"name,attr"`
		Error problem `xml:"error"`
	}
	type suite struct {
		Name   string `xml:"name,attr"`
		Tests  int    `xml:"tests,attr"`
		Errors int    `xml:"errors,attr"`
		Test   test   `xml:"testcase"`
	}
	type file struct {
		XMLName xml.Name `xml:"testsuites"`
		Suite   suite    `xml:"testsuite"`
	}
	data, err := xml.MarshalIndent(file{Suite: suite{
		Name: c.Suite, Tests: 1, Errors: 1,
		Test: test{Class: c.Class, Name: c.Name, Error: problem{Message: c.Message, Text: c.Detail}},
	}}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return append(append([]byte(xml.Header), data...), '\n')
}
