package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/mattn/go-isatty"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/flow"
)

// result is what a verb found out. It goes to stdout: as one JSON document, which is an object, or as its own text.
type result interface {
	// Text writes what a person or a shell script wants to read.
	Text(w io.Writer)
}

// withHeadline is a result that says less to a person who saw the steps on the same terminal.
type withHeadline interface {
	Headline(w io.Writer, headline string)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// detail returns the detail of a verb's own step, which is the last one of its type. It is nil when the step failed before
// there was anything to say.
func detail[T any](r *flow.Result) *T {
	if r == nil {
		return nil
	}
	for _, s := range slices.Backward(r.Steps) {
		if d, ok := s.Detail.(*T); ok {
			return d
		}
	}
	return nil
}

// failure is what a JSON document says of a run beside the verb's result.
type failure struct {
	ExitCode int               `json:"exitCode"`
	Error    string            `json:"error,omitempty"`
	Reasons  []delivery.Reason `json:"reasons,omitempty"`
}

// print writes the result to stdout. As text there is nothing to write without one; the JSON document is there for each
// run. It is also written into the file of --result.
func (g *globals) print(res result, err error, code int) error {
	g.printed = true
	var writing error
	if g.result != "" || g.output == "json" {
		writing = g.printJSON(res, err, code)
	}
	if g.output == "json" || isNil(res) {
		return writing
	}
	if seen, ok := res.(withHeadline); ok && g.live && g.page != nil && isTerminal(g.stdout) {
		seen.Headline(g.stdout, g.page.Headline())
	} else {
		res.Text(g.stdout)
	}
	return writing
}

// printJSON writes the document to stdout if that is to get JSON, and into the file of --result.
func (g *globals) printJSON(res result, err error, code int) error {
	text, err := resultJSON(res, err, code)
	if err != nil {
		return err
	}
	if g.result != "" {
		if err := os.WriteFile(g.result, text, 0o600); err != nil {
			return fmt.Errorf("--result: %w", err)
		}
	}
	if g.output == "json" {
		_, err = g.stdout.Write(text)
	}
	return err
}

// resultJSON is the JSON document of a run.
func resultJSON(res result, err error, code int) ([]byte, error) {
	outcome := failure{ExitCode: code}
	if err != nil && !errors.Is(err, errDiffers) {
		outcome.Error, outcome.Reasons = err.Error(), delivery.Reasons(err)
	}
	text, err := encode(outcome)
	if err != nil {
		return nil, err
	}
	if !isNil(res) {
		found, err := encode(res)
		if err != nil {
			return nil, err
		}
		if text, err = merge(found, text); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return bytes.TrimSpace(out.Bytes()), err
}

// merge joins two JSON objects, neither of which is empty or has a key of the other.
func merge(a, b []byte) ([]byte, error) {
	if len(a) < 2 || a[0] != '{' {
		return nil, fmt.Errorf("the result is no JSON object: %.40s", a)
	}
	if bytes.Equal(a, []byte("{}")) {
		return b, nil
	}
	return append(append(a[:len(a)-1:len(a)-1], ','), b[1:]...), nil
}

// isNil reports whether there is no result: none at all, or a wrapper of a nil pointer.
func isNil(res result) bool {
	if res == nil {
		return true
	}
	v := reflect.ValueOf(res)
	return v.Kind() == reflect.Struct && v.NumField() == 1 && v.Field(0).Kind() == reflect.Pointer && v.Field(0).IsNil()
}
