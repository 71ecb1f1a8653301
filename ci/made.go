package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/image"
)

// The aksflow program asks the registry whether it has the image of this source, with the key that names what goes into it.
// What the registry lacks is built and tested here, in the caller's engine, and handed to the program, which records it.

// again says what is done again, though the registry has it.
type again struct{ rebuild, retest bool }

func (a again) flags() []string {
	return append(given("--rebuild", a.rebuild), given("--retest", a.retest)...)
}

// generation makes the engine build again what it remembers.
func (a again) generation(p planned) string {
	if a.rebuild {
		return time.Now().UTC().Format(time.RFC3339)
	}
	return p.Generation
}

// made is the image of a source, and what its tests said.
type made struct {
	image *dagger.File
	build.Made
}

// make builds and tests the image for what is planned. It is nil if the registry has what is needed.
func (m *AksFlow) make(ctx context.Context, p planned, again again) (*made, error) {
	if p.Recorded != nil && p.Recorded.Tests != "" && !again.rebuild && !again.retest {
		return nil, nil
	}
	d, err := m.defineTested(ctx, p.Environment, again.generation(p))
	if err != nil {
		return nil, err
	}
	for _, name := range m.BuildSecretNames {
		if _, named := d.config.Build.Secrets[name]; !named {
			return nil, fmt.Errorf("with-build-secret gives %s, and build.secrets in %s does not name it: add it there, because the image is recorded with the secrets that are named",
				name, d.config.Path())
		}
	}
	recorded := p.Recorded != nil && !again.rebuild
	if recorded && !d.hasTests() {
		return nil, nil
	}
	made := &made{Made: build.Made{Images: p.Images, Took: map[string]time.Duration{}}}
	began := time.Now()
	if recorded && m.AzureClient == "" {
		made.image, err = m.pulled(ctx, p.Repository, p.Recorded.Digest)
	} else {
		made.image, _, err = d.image(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	made.Took["build"] = time.Since(began)
	if !d.hasTests() {
		return made, nil
	}
	began = time.Now()
	if made.Results, err = d.test(ctx, made.image, again.retest); err != nil {
		return nil, fmt.Errorf("test: %w", err)
	}
	made.Took["test"] = time.Since(began)
	return made, nil
}

// pulled is an image of the registry, as a tarball.
func (m *AksFlow) pulled(ctx context.Context, repository, digest string) (*dagger.File, error) {
	registry, err := m.registry(ctx)
	if err != nil {
		return nil, err
	}
	from, err := registry.Open(ctx, repository, image.ReadOnly)
	if err != nil {
		return nil, err
	}
	const name = "pulled.tar" // in the working directory, which is this module's own
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if err := from.Pull(ctx, digest, path, nil); err != nil {
		return nil, err
	}
	return dag.CurrentModule().WorkdirFile(name), nil
}

// give hands what was made to a command, and returns the flag for it. What tests printed stays here: it is in the engine's log.
func (m *made) give(c *command) []string {
	if m == nil {
		return nil
	}
	const name = "/tmp/made.json"
	m.Tarball = filepath.Base(imagePath)
	if m.Results != nil {
		brief := &build.Results{}
		for _, suite := range m.Results.Suites {
			suite.Output, suite.Reports = "", nil
			brief.Suites = append(brief.Suites, suite)
		}
		m.Results = brief
	}
	text, err := json.Marshal(m.Made)
	if err != nil {
		panic(err) // it has only texts and numbers
	}
	c.container = c.container.WithMountedFile(imagePath, m.image).WithNewFile(name, string(text))
	return flags("--made", name)
}
