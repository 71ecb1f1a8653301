package build

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Test runs the app's tests: the unit tests in a container of their own and, at the same time, the integration tests as a
// client of the image under test and of the services. The image under test is the OCI tarball image, or the one that app
// builds if image is nil.
//
// A suite that passed is not run again by an engine that remembers it; a suite that failed is.
//
// The Results are there also when Test fails, and hold JUnit XML for every suite: the runner's own, or made up when the
// suite could not run. The error is a [TestFailure] when a test failed, when the app or a service did not start, or when
// a suite ran no test at all. Any other error is about what stands around the tests: a stage that does not build, an
// engine that is gone, a context that ended.
func Test(ctx context.Context, client *dagger.Client, app App, image *dagger.File, tests Tests) (*Results, error) {
	if tests.Unset != nil {
		return nil, tests.Unset
	}
	tests = tests.withDefaults()
	if err := tests.validate(); err != nil {
		return nil, err
	}
	for _, warning := range tests.Warnings {
		report.Warn(ctx, "%s", warning)
	}
	if image == nil && tests.Integration != nil {
		var err error
		if image, err = app.Tarball(ctx); err != nil {
			return nil, fmt.Errorf("the image under test: %w", Explain(err))
		}
	}
	t := &tester{client: client, app: app, image: image, tests: tests}
	type plan struct {
		name  string
		suite *Suite
		run   func(context.Context, *runner) error
	}
	var plans []plan
	if s := tests.Unit; s != nil {
		plans = append(plans, plan{Unit, s, t.unit})
	}
	if s := tests.Integration; s != nil {
		plans = append(plans, plan{Integration, s, t.integration})
	}
	results := &Results{Suites: make([]SuiteResult, len(plans))}
	errs := make([]error, len(plans))
	var wg sync.WaitGroup
	for i, p := range plans {
		r := &runner{client: client, app: app.Name, name: p.name, suite: p.suite, noCache: tests.NoCache, hide: tests.Hide, result: &results.Suites[i]}
		wg.Go(func() {
			began := time.Now()
			if err := p.run(ctx, r); err != nil {
				errs[i] = fmt.Errorf("%s tests: %w", p.name, err)
				r.makeUp(Case{Name: "run", Message: "the tests could not run", Detail: err.Error()})
			}
			r.result.Name, r.result.Elapsed = p.name, time.Since(began)
			report.Donef(ctx, p.name, "%s", (&Results{Suites: []SuiteResult{*r.result}}).Summary())
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return results, fmt.Errorf("testing was cut short: %w", err)
	}
	return results, results.failure(errs)
}

// failure is the error of a run: what kept suites from running, and the tests that failed in the others.
func (r *Results) failure(errs []error) error {
	ran := &Results{}
	for i, err := range errs {
		if err == nil {
			ran.Suites = append(ran.Suites, r.Suites[i])
		}
	}
	if failed := ran.Failed(); len(failed) > 0 {
		errs = append(errs, &TestFailure{Failed: failed, Total: len(ran.Cases())})
	}
	return errors.Join(errs...)
}

// tester knows what is tested.
type tester struct {
	client *dagger.Client
	app    App
	image  *dagger.File
	tests  Tests
}

func (t *tester) unit(ctx context.Context, r *runner) error {
	ctr, err := t.built(ctx, r.suite.Target)
	if err != nil {
		return err
	}
	return r.killed(r.run(ctx, ctr))
}

// built returns a stage of the Dockerfile once it is built.
func (t *tester) built(ctx context.Context, target string) (*dagger.Container, error) {
	report.Progressf(ctx, target, "building the stage")
	ctr, err := t.app.container(ctx, target)
	if err == nil {
		ctr, err = ctr.Sync(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("building the Dockerfile's stage %q: %w", target, Explain(err))
	}
	return ctr, nil
}

// output puts together what a command wrote.
func output(stdout, stderr string) string {
	if stdout != "" && stderr != "" && !strings.HasSuffix(stdout, "\n") {
		stdout += "\n"
	}
	return stdout + stderr
}

// maxLine bounds a line of a command's output in an error, in bytes.
const maxLine = 500

// lastLines returns the last n lines of a text, with a line before them that says how many were left out.
func lastLines(text string, n int) string {
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if left := len(lines) - n; left > 0 {
		lines = append([]string{fmt.Sprintf("… %d lines before these …", left)}, lines[left:]...)
	}
	for i, line := range lines {
		if len(line) > maxLine {
			lines[i] = strings.ToValidUTF8(line[:maxLine], "") + "…"
		}
	}
	return strings.Join(lines, "\n")
}

// lastLine returns the last line with text in it of the first text that has one.
func lastLine(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return lastLines(t[strings.LastIndexByte(t, '\n')+1:], 1)
		}
	}
	return ""
}

// firstLine returns the first line of s with text in it, without space around it.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}
