package build

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/joshdk/go-junit"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
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
	root, err := rootElement(text)
	switch {
	case err != nil:
		return nil, err
	case root != "testsuites" && root != "testsuite":
		return nil, &notJUnit{root}
	}
	text = oneKind(text)
	suites, err := junit.Ingest(text)
	if err != nil {
		return nil, err
	}
	var cases []Case
	var walk func([]junit.Suite)
	walk = func(suites []junit.Suite) {
		for _, s := range suites {
			walk(s.Suites)
			for _, t := range s.Tests {
				cases = append(cases, newCase(suite, t))
			}
		}
	}
	walk(suites)
	return cases, nil
}

// notRun are the values of the attributes status and result with which runners, GoogleTest for one, mark tests that they
// left out.
var notRun = []string{"notrun", "disabled", "suppressed", "skipped", "ignored"}

func newCase(suite string, t junit.Test) Case {
	c := Case{
		Suite:   suite,
		Class:   t.Classname,
		Name:    t.Name,
		Status:  Status(t.Status),
		Message: firstLine(t.Message),
		Elapsed: t.Duration,
	}
	for _, attribute := range []string{"status", "result"} {
		if c.Status == Passed && slices.Contains(notRun, strings.ToLower(t.Properties[attribute])) {
			c.Status = Skipped
		}
	}
	if t.Error != nil {
		c.Detail = t.Error.Error()
	}
	if c.Message == "" {
		c.Message = firstLine(c.Detail)
	}
	c.File, c.Line = place(c.Detail)
	return c
}

// oneKind turns <testsuites> into <testsuite>: Node.js puts tests right below the root, and tools that merge reports nest the
// element, where the library looks for suites only. The text is well-formed.
func oneKind(text []byte) []byte {
	dec := xml.NewDecoder(bytes.NewReader(text))
	var out []byte
	done := 0
	for {
		at := int(dec.InputOffset())
		token, err := dec.RawToken()
		if err != nil {
			return append(out, text[done:]...)
		}
		tag := "<testsuites"
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local != "testsuites" {
				continue
			}
		case xml.EndElement:
			if tag = "</testsuites"; token.Name.Local != "testsuites" {
				continue
			}
		default:
			continue
		}
		// The end of <testsuites/> has no text of its own.
		if bytes.HasPrefix(text[at:], []byte(tag)) {
			end := at + len(tag)
			out, done = append(out, text[done:end-1]...), end
		}
	}
}

// rootElement returns the name of the root element. It reads all of the text, so its error is that of a report that is
// cut short.
func rootElement(text []byte) (name string, err error) {
	dec := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF) && name == "":
			return "", errors.New("it holds no element")
		case errors.Is(err, io.EOF):
			return name, nil
		case err != nil:
			return "", err
		}
		if element, ok := token.(xml.StartElement); ok && name == "" {
			name = element.Name.Local
		}
	}
}

var (
	declaration = regexp.MustCompile(`^\s*<\?xml[^>]*?\?>`)
	encodingOf  = regexp.MustCompile(`encoding\s*=\s*["']([^"']+)["']`)
	reference   = regexp.MustCompile(`&#(x[0-9A-Fa-f]+|[0-9]+);`)
)

// readable returns the text of an XML file in UTF-8, without its declaration and with characters only that XML allows:
// runners copy what a test printed, escape sequences too, and strict readers refuse the whole file for one of them.
func readable(data []byte) ([]byte, error) {
	wide := unicode.LittleEndian
	if bytes.HasPrefix(data, []byte{0, '<'}) {
		wide = unicode.BigEndian
	}
	switch first := string(data[:min(2, len(data))]); first {
	case "\xff\xfe", "\xfe\xff", "<\x00", "\x00<": // the last two have no byte order mark
		decoded, err := unicode.UTF16(wide, unicode.UseBOM).NewDecoder().Bytes(data)
		if err != nil {
			return nil, err
		}
		data = decoded
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	declared := declaration.Find(data)
	data = data[len(declared):]
	// Programs that hold the text in memory declare UTF-16 and then write UTF-8.
	if m := encodingOf.FindSubmatch(declared); m != nil && !strings.HasPrefix(strings.ToLower(string(m[1])), "utf") {
		encoding, err := htmlindex.Get(string(m[1]))
		if err != nil {
			return nil, fmt.Errorf("its encoding %q is not known", m[1])
		}
		if data, err = encoding.NewDecoder().Bytes(data); err != nil {
			return nil, fmt.Errorf("its encoding is not the %s that it declares: %w", m[1], err)
		}
	}
	data = bytes.Map(func(r rune) rune {
		if allowed(r) {
			return r
		}
		return '\ufffd'
	}, data)
	return reference.ReplaceAllFunc(data, func(ref []byte) []byte {
		number, base := string(ref[2:len(ref)-1]), 10
		if hex, ok := strings.CutPrefix(number, "x"); ok {
			number, base = hex, 16
		}
		if n, err := strconv.ParseInt(number, base, 32); err != nil || !allowed(rune(n)) {
			return []byte("\ufffd")
		}
		return ref
	}), nil
}

// allowed reports whether XML 1.0 allows a character: https://www.w3.org/TR/xml/#charsets
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}

// portable returns a report as any reader takes it: unchanged if it is, else as readable UTF-8.
func portable(data []byte) []byte {
	text, err := readable(data)
	if err != nil || bytes.HasSuffix(data, text) && !encodingOf.Match(declaration.Find(data)) {
		return data
	}
	if bytes.HasSuffix(data, text) && bytes.Contains(bytes.ToLower(declaration.Find(data)), []byte("utf-8")) {
		return data
	}
	return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`), text...)
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

// The elements of a JUnit XML file that no runner wrote.
type (
	junitFile struct {
		XMLName xml.Name `xml:"testsuites"`
		Suite   junitSuite
	}
	junitSuite struct {
		XMLName    xml.Name         `xml:"testsuite"`
		Name       string           `xml:"name,attr"`
		Tests      int              `xml:"tests,attr"`
		Errors     int              `xml:"errors,attr"`
		Skipped    int              `xml:"skipped,attr"`
		Time       string           `xml:"timestamp,attr,omitempty"`
		Properties *junitProperties `xml:"properties"`
		Cases      []junitCase      `xml:"testcase"`
	}
	junitProperties struct {
		Property []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Error   *junitProblem `xml:"error"`
		Skipped *junitProblem `xml:"skipped"`
	}
	junitProblem struct {
		Message string `xml:"message,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// newJUnitSuite describes tests that passed, were skipped or could not run.
func newJUnitSuite(name string, cases []Case) junitSuite {
	s := junitSuite{Name: name, Tests: len(cases)}
	for _, c := range cases {
		t := junitCase{Class: c.Class, Name: c.Name}
		switch problem := (&junitProblem{Message: c.Message, Text: c.Detail}); c.Status {
		case Error:
			t.Error, s.Errors = problem, s.Errors+1
		case Skipped:
			t.Skipped, s.Skipped = problem, s.Skipped+1
		}
		s.Cases = append(s.Cases, t)
	}
	return s
}

// file returns the suite as a JUnit XML file.
func (s junitSuite) file() []byte {
	data, err := xml.MarshalIndent(junitFile{Suite: s}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return append(append([]byte(xml.Header), data...), '\n')
}
