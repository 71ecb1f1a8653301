package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	sdk "dagger.io/dagger"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Run the unit tests, and the integration tests against the image with its services beside it
//
// Fails with the names of the tests that failed. Tests that the image of this source passed in the environment's registry do
// not run again.
//
// +check
// +cache="session"
func (m *AksFlow) Test(
	ctx context.Context,

	// The image to test, an OCI tarball. Without it, one is built
	// +optional
	image *dagger.File,

	// The environment whose variables the build arguments and the tests may use
	// +optional
	env string,

	// Run the tests again, though the image passed them
	// +optional
	retest bool,
) (string, error) {
	if image == nil && env != "" && !retest {
		found, err := m.testedBefore(ctx, env)
		if err != nil || found != "" {
			return found, err
		}
	}
	results, err := m.test(ctx, image, env, retest)
	if err != nil {
		return "", err
	}
	return results.Summary(), nil
}

// Run the tests as test does, and return their reports: JUnit XML, also when tests fail
//
// +cache="session"
func (m *AksFlow) TestReports(
	ctx context.Context,

	// The image to test, an OCI tarball. Without it, one is built
	// +optional
	image *dagger.File,

	// The environment whose variables the build arguments and the tests may use
	// +optional
	env string,

	// Run the tests again, though the image passed them
	// +optional
	retest bool,
) (*dagger.Directory, error) {
	results, err := m.test(ctx, image, env, retest)
	var failed *build.TestFailure
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	reports := dag.Directory()
	for _, suite := range results.Suites {
		for name, text := range suite.Reports {
			reports = reports.WithNewFile(name, string(text))
		}
	}
	return reports, nil
}

// testedBefore says which tests the registry's image of this source passed; "" if they have to run.
func (m *AksFlow) testedBefore(ctx context.Context, env string) (string, error) {
	c, err := m.prepare(ctx, env)
	if err != nil {
		return "", err
	}
	p, err := m.plan(ctx, c, flags("--env", env))
	if err != nil || p.Recorded == nil || p.Recorded.Tests == "" {
		return "", err
	}
	return p.Recorded.Tests + "; no test ran", nil
}

// test runs the tests on an image, or on the one that is built if it is nil.
func (m *AksFlow) test(ctx context.Context, image *dagger.File, env string, retest bool) (*build.Results, error) {
	d, err := m.defineTested(ctx, env, "")
	if err != nil {
		return nil, err
	}
	if !d.hasTests() {
		return nil, fmt.Errorf("%s has no tests: name the Dockerfile's stages under test.unit and test.integration", d.config.Path())
	}
	return d.test(ctx, image, retest)
}

// test runs the tests on an image, or on the one that is built if it is nil.
func (d definition) test(ctx context.Context, image *dagger.File, retest bool) (results *build.Results, err error) {
	var tarball *sdk.File
	if image != nil {
		if tarball, err = toSDK[*sdk.File](ctx, d.client, image); err != nil {
			return nil, err
		}
	}
	d.tests.NoCache = retest
	return build.Test(report.With(ctx, report.NewPlain(os.Stderr, true)), d.client, d.app, tarball, d.tests)
}
