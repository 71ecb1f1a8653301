package build

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// notJUnit is the error of an XML file that is something else, such as a coverage report.
type notJUnit struct{ root string } // the root element's name

func (n *notJUnit) Error() string { return fmt.Sprintf("its root element is <%s>", n.root) }

// parse reads the tests of a JUnit XML file, of whatever depth of suites. The error is a [notJUnit] for another kind of
// XML.
func parse(suite string, data []byte) ([]Case, error) {
	text, err := readable(data)
	if err != nil {
		return nil, err
	}
	r := junitReader{suite: suite, tokens: xml.NewDecoder(bytes.NewReader(text))}
	r.tokens.Entity = xml.HTMLEntity // as some runners copy them from pages that they tested
	for {
		switch token, err := r.tokens.Token(); {
		case errors.Is(err, io.EOF) && r.root == "":
			return nil, errors.New("it holds no element")
		case errors.Is(err, io.EOF):
			return r.cases, nil
		case err != nil:
			return nil, err
		default:
			if err := r.token(token); err != nil {
				return nil, err
			}
		}
	}
}

// junitReader collects the tests of a JUnit XML file.
type junitReader struct {
	suite  string // Unit or Integration
	tokens *xml.Decoder
	root   string      // the name of the root element
	open   []suiteRead // the suites around what is read, the outermost one first
	cases  []Case
}

// suiteRead is a suite that is being read.
type suiteRead struct {
	name   string
	failed int // how many failures and errors it counts
	before int // the number of tests before it
}

// token reads what is outside of tests.
func (r *junitReader) token(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		name := token.Name.Local
		isSuite := name == "testsuites" || name == "testsuite"
		if r.root == "" {
			if r.root = name; !isSuite {
				return r.other()
			}
		}
		switch {
		case isSuite:
			a := attributes(token)
			r.open = append(r.open, suiteRead{a["name"], number(a["failures"]) + number(a["errors"]), len(r.cases)})
		case name == "testcase":
			return r.test(token)
		case name == "failure" || name == "error":
			return r.ofSuite(token)
		default:
			return r.tokens.Skip()
		}
	case xml.EndElement: // of a suite: other elements are read to their ends
		last := r.open[len(r.open)-1]
		r.open = r.open[:len(r.open)-1]
		// Jest counts a file that could not be loaded as an error, and writes no test of it.
		if len(r.cases) == last.before && last.failed > 0 {
			r.add(Case{Class: last.name, Name: "suite", Status: Error, Message: fmt.Sprintf("the report counts %d failures and errors in this suite, and holds no test of it", last.failed)})
		}
	}
	return nil
}

// other returns the error of a file that is no JUnit XML. It reads the rest, so that a file that is cut short is named as such.
func (r *junitReader) other() error {
	for {
		if _, err := r.tokens.Token(); errors.Is(err, io.EOF) {
			return &notJUnit{r.root}
		} else if err != nil {
			return err
		}
	}
}

// ofSuite reads a failure of a whole suite, such as of what all its tests need.
func (r *junitReader) ofSuite(start xml.StartElement) error {
	p, err := r.problem(start)
	if err != nil {
		return err
	}
	c := Case{Name: "suite", Status: Passed}
	if len(r.open) > 0 {
		c.Class = r.open[len(r.open)-1].name
	}
	c.add(p)
	r.add(c)
	return nil
}

// notRun and failedStates are the values of the attributes status and result with which runners, GoogleTest for one, mark tests that
// they left out, and tests that failed where nothing else says so.
var (
	notRun       = []string{"notrun", "disabled", "suppressed", "skipped", "ignored"}
	failedStates = []string{"failed", "failure", "fail", "error", "errored"}
)

// test reads a test. What it printed is not kept.
func (r *junitReader) test(start xml.StartElement) error {
	a := attributes(start)
	c := Case{Class: a["classname"], Name: a["name"], Status: Passed, Elapsed: elapsed(a["time"])}
	for {
		token, err := r.tokens.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			switch token.Name.Local {
			case "skipped", "failure", "error":
				p, err := r.problem(token)
				if err != nil {
					return err
				}
				c.add(p)
			case "testcase":
				err = r.test(token)
			default:
				err = r.tokens.Skip()
			}
			if err != nil {
				return err
			}
		case xml.EndElement:
			c.says(a["status"], a["result"])
			r.add(c)
			return nil
		}
	}
}

// says takes up what attributes say about a test that has no element about it.
func (c *Case) says(states ...string) {
	for _, state := range states {
		switch state = strings.ToLower(state); {
		case c.Status != Passed:
		case slices.Contains(notRun, state):
			c.Status = Skipped
		case slices.Contains(failedStates, state):
			c.Status, c.Message = Failed, "the report gives it the status "+state
		}
	}
}

// add adds a test.
func (r *junitReader) add(c Case) {
	c.Suite = r.suite
	c.File, c.Line = place(c.Detail)
	r.cases = append(r.cases, c)
}

// problem is an element that says what became of a test.
type problem struct {
	status        Status
	message, text string
}

func (r *junitReader) problem(start xml.StartElement) (problem, error) {
	a := attributes(start)
	p := problem{status: map[string]Status{"skipped": Skipped, "failure": Failed, "error": Error}[start.Name.Local], message: a["message"]}
	var text strings.Builder
	for depth := 1; depth > 0; {
		token, err := r.tokens.Token()
		if err != nil {
			return p, err
		}
		switch token := token.(type) {
		case xml.CharData:
			text.Write(token)
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
	}
	if p.text = text.String(); strings.TrimSpace(p.text) == "" {
		p.text = cmp.Or(strings.TrimSpace(p.message), a["type"])
	}
	return p, nil
}

// add adds what an element says. A test may have several: GoogleTest writes one for each assertion that failed, and pytest an error
// of what cleans up after a test that was skipped. The worst one decides, and the first one is the message.
func (c *Case) add(p problem) {
	order := []Status{Passed, Skipped, Error, Failed}
	before := c.Status
	if slices.Index(order, p.status) > slices.Index(order, before) {
		c.Status = p.status
	}
	message := cmp.Or(firstLine(p.message), firstLine(p.text))
	switch {
	case p.status == Skipped:
		if before == Passed {
			c.Message = message
		}
	case before == Passed || before == Skipped:
		c.Message, c.Detail = message, p.text
	default:
		c.Detail += "\n" + p.text
	}
}

// attributes returns the attributes of an element by their names.
func attributes(start xml.StartElement) map[string]string {
	all := make(map[string]string, len(start.Attr))
	for _, a := range start.Attr {
		all[a.Name.Local] = a.Value
	}
	return all
}

// number reads a count; 0 for what is none.
func number(text string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(text))
	return n
}

// elapsed reads how long a test took: seconds, in which a comma divides thousands if there is a point, and else is the point.
func elapsed(text string) time.Duration {
	if strings.Contains(text, ".") || strings.Count(text, ",") > 1 {
		text = strings.ReplaceAll(text, ",", "")
	}
	text = strings.ReplaceAll(text, ",", ".")
	if s, err := strconv.ParseFloat(text, 64); err == nil && s >= 0 && s < math.MaxInt32 {
		return time.Duration(s*1e6) * time.Microsecond
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d
	}
	return 0
}

// traceLine matches a place as pytest, Go, Node.js, Vitest and compilers print it.
var traceLine = regexp.MustCompile(`(?m)^\s*(?:❯ )?([^\s:]+):([0-9]+):`)

// place finds where a test failed: the innermost place in its trace that belongs to the project and not to a library.
// The attributes that some runners write do not help: they name the test's first line, counted from 0 or from 1.
func place(trace string) (file string, line int) {
	for _, m := range slices.Backward(traceLine.FindAllStringSubmatch(trace, -1)) {
		if n, err := strconv.Atoi(m[2]); err == nil && filepath.IsLocal(m[1]) {
			return m[1], n
		}
	}
	return "", 0
}
