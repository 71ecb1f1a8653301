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
// Fails with the names of the tests that failed.
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

	// Run tests again whose content did not change
	// +optional
	noCache bool,
) (string, error) {
	results, err := m.test(ctx, image, env, noCache)
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

	// Run tests again whose content did not change
	// +optional
	noCache bool,
) (*dagger.Directory, error) {
	results, err := m.test(ctx, image, env, noCache)
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

// test runs the tests on an image, or on the one that is built if it is nil.
func (m *AksFlow) test(ctx context.Context, image *dagger.File, env string, noCache bool) (*build.Results, error) {
	d, err := m.define(ctx, env)
	if err != nil {
		return nil, err
	}
	if d.config.Test.Unit == nil && d.config.Test.Integration == nil {
		return nil, fmt.Errorf("%s has no tests: name the Dockerfile's stages under test.unit and test.integration", d.config.Path())
	}
	return d.test(ctx, image, noCache)
}

// test runs the tests on an image, or on the one that is built if it is nil.
func (d definition) test(ctx context.Context, image *dagger.File, noCache bool) (results *build.Results, err error) {
	var tarball *sdk.File
	if image != nil {
		if tarball, err = toSDK[*sdk.File](ctx, d.client, image); err != nil {
			return nil, err
		}
	}
	d.tests.NoCache = noCache
	return build.Test(report.With(ctx, report.NewPlain(os.Stderr, true)), d.client, d.app, tarball, d.tests)
}
