package build

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

var (
	declaration = regexp.MustCompile(`^\s*<\?xml[^>]*?\?>`)
	encodingOf  = regexp.MustCompile(`encoding\s*=\s*["']([^"']+)["']`)
	reference   = regexp.MustCompile(`&#(x[0-9A-Fa-f]+|[0-9]+);`)
)

// begin matches where the XML begins.
var begin = regexp.MustCompile(`<(\?xml\s|testsuites?[\s>/])`)

// readable returns the text of an XML file in UTF-8, without its declaration and with characters only that XML allows:
// runners copy what a test printed, escape sequences too, and strict readers refuse the whole file for one of them. What a package
// manager printed into the file before the report is left out.
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
	if at := begin.FindIndex(data); at != nil && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		data = data[at[0]:]
	}
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
	if err != nil {
		return data
	}
	if before, same := bytes.CutSuffix(data, text); same {
		before = bytes.TrimSpace(bytes.TrimPrefix(before, []byte("\ufeff")))
		encoding := encodingOf.FindSubmatch(before)
		if len(declaration.Find(before)) == len(before) && (encoding == nil || strings.EqualFold(string(encoding[1]), "utf-8")) {
			return data
		}
	}
	return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`), text...)
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
