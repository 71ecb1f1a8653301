package conformance

import (
	"context"
	"crypto/rand"
	"os"
	"slices"
	"testing"
	"time"

	"dagger.io/dagger"
)

// Engine is what is judged.
type Engine struct {
	// Connect opens a session of its own. The function that it returns closes the session, and may be called twice; the
	// session is also closed when the test ends.
	Connect func(t testing.TB) (client *dagger.Client, closeSession func())
	// Base is the reference of an image that the engine can pull, with coreutils, bash and perl in it, as
	// debian:trixie-slim has them.
	Base string
}

// Run runs the suite, or the parts of it that are named. Most of it shares one session; what is about sessions opens more.
func Run(t *testing.T, e Engine, parts ...string) {
	r := &rig{Engine: e}
	r.Client, _ = e.Connect(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Query", r.query}, {"Exec", r.exec}, {"Config", r.config}, {"Cache", r.cache}, {"Files", r.files}, {"Image", r.image},
		{"Service", r.service}, {"Secret", r.secret}, {"Streams", r.streams}, {"Settings", r.settings}, {"Trees", r.trees},
		{"Publish", r.publish}, {"Sources", r.sources}, {"Cancel", r.cancel},
	} {
		if len(parts) == 0 || slices.Contains(parts, part.name) {
			t.Run(part.name, part.run)
		}
	}
}

// elsewhere returns the parts of the suite that depend on where containers run, unless $AKSFLOW_TEST_ALL asks for the whole.
func elsewhere() []string {
	if os.Getenv("AKSFLOW_TEST_ALL") != "" {
		return nil
	}
	return []string{"Service", "Secret", "Publish", "Cancel"}
}

// rig is what the tests share: one session, and short words for common graphs.
type rig struct {
	Engine
	*dagger.Client
}

// patience is how long any one test may take, on a machine that is busy with others.
const patience = 3 * time.Minute

// printRun prints a line that differs from run to run.
const printRun = "cat /proc/sys/kernel/random/uuid"

// with returns the rig in another session.
func (r *rig) with(t testing.TB) (*rig, func()) {
	c, closeSession := r.Connect(t)
	return &rig{Engine: r.Engine, Client: c}, closeSession
}

// base is a container of the base image.
func (r *rig) base() *dagger.Container { return r.Container().From(r.Base) }

// fresh is a container of the base image in which no command has run yet, in this run of the suite or an earlier one.
func (r *rig) fresh() *dagger.Container { return r.base().WithEnvVariable("NONCE", nonce()) }

// bash is the command line that runs a script.
func bash(script string) []string { return []string{"bash", "-euc", script} }

// dir is a directory that holds these files, made in random order: what counts is the content.
func (r *rig) dir(files map[string]string) *dagger.Directory {
	d := r.Directory()
	for name, text := range files {
		d = d.WithNewFile(name, text)
	}
	return d
}

// nonce is a text that no earlier run of the suite has used.
func nonce() string { return rand.Text() }

// within bounds a test.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
