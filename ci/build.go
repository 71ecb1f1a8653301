package main

import (
	"context"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// Build the image from the application's Dockerfile
//
// `as-tarball export --path=image.tar` after it writes an OCI tarball, which test and publish take.
func (m *AksFlow) Build(ctx context.Context) (*dagger.Container, error) {
	_, app, _, err := m.definition(ctx)
	if err != nil {
		return nil, err
	}
	return fromSDK[*dagger.Container](ctx, app.Build())
}
