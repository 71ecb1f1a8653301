package main

import "context"

// Render the manifests of every environment with the image set, without a cluster
//
// +check
// +cache="session"
func (m *AksFlow) Validate(
	ctx context.Context,

	// One environment of aksflow.yaml. Without it: all
	// +optional
	env string,

	// What to return
	// +default="text"
	format Format,
) (string, error) {
	c, err := m.prepare(ctx, "")
	if err != nil {
		return "", err
	}
	out, err := c.run(ctx, "validate", flags("--env", env)...)
	if err != nil {
		return "", err
	}
	return out.in(format), nil
}
