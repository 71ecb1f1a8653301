package flow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/build/key"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/git"
)

// Plan is what deliver would do, and why. It is the JSON of plan.
type Plan struct {
	Environment string `json:"environment"` // "" when the image is built and tested only
	Target      string `json:"target,omitempty"`
	// From is the environment that the image is promoted from; "" when it is built.
	From string `json:"from,omitempty"`
	// Gates are what must hold then, each in a line, and who may open them.
	Gates    []string `json:"gates,omitempty"`
	Registry string   `json:"registry,omitempty"`
	// Repository is where the image is pushed to, HOST/PATH, and GitRepository the URL that a bump is pushed to.
	Repository    string   `json:"repository,omitempty"`
	GitRepository string   `json:"gitRepository,omitempty"`
	Image         string   `json:"image"`
	Version       string   `json:"version"`
	Tags          []string `json:"tags"`
	Steps         []string `json:"steps"`
	Reason        string   `json:"reason"`
	// Source is what the image is built from.
	Source delivery.Source `json:"source"`
	// Rules are what the branch model of aksflow.yaml does with each git ref.
	Rules []gitflow.Rule `json:"rules,omitempty"`
	// NotMergedBack is what the branch that is delivered has and develop lacks.
	NotMergedBack []git.Unmerged `json:"notMergedBack,omitempty"`
	// BuildKey names what goes into the image, and SourceKey leaves out what changes by itself. BuildKey is "" when an image of
	// this source is not used again: NotReused says why. TestKey names how the image is tested.
	BuildKey  string `json:"buildKey,omitempty"`
	SourceKey string `json:"sourceKey,omitempty"`
	TestKey   string `json:"testKey,omitempty"`
	NotReused string `json:"notReused,omitempty"`
	// Images are the images of registries that the image is made from, with their digests. Generation is what an engine is told
	// to run again what it remembers; "" where it need not.
	Images     map[string]string `json:"images,omitempty"`
	Generation string            `json:"generation,omitempty"`
	// Recorded is the image that the registry has for the build key.
	Recorded *RecordedImage `json:"recorded,omitempty"`
	// Explain lists what went into the keys.
	Explain []key.Entry `json:"explain,omitempty"`
	// Warnings are what costs more than it seems to, and what the tests lack.
	Warnings []string `json:"warnings,omitempty"`
}

// RecordedImage is the image that a registry has for a build key.
type RecordedImage struct {
	Digest string `json:"digest"`
	// Time is when it was built; the zero time when that is not known.
	Time time.Time `json:"time,omitzero"`
	// Tests says how many tests of the definition it passed; "" when it has to be tested.
	Tests string `json:"tests,omitempty"`
	// Verified reports that signatures say so.
	Verified bool `json:"verified"`
}

// String is the image in one line.
func (r RecordedImage) String() string {
	text := r.Digest
	if !r.Time.IsZero() {
		text += ", built " + report.Ago(time.Since(r.Time))
	}
	if r.Tests != "" {
		text += ", " + r.Tests
	} else {
		text += ", not tested by these tests"
	}
	if !r.Verified {
		text += ", unverified"
	}
	return text
}

// Plan says what Deliver would do.
func (d *Delivery) Plan(ctx context.Context) (*Plan, error) {
	source, err := d.source(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := d.Steps()
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Image: d.config.Image, Version: d.Decision.Version, Tags: append([]string{}, d.Decision.Tags...),
		Steps: []string{}, Reason: d.Decision.Reason, Source: source,
	}
	if d.env != nil {
		p.Environment, p.Target, p.Registry, p.From = d.env.Name, d.env.Target, d.env.Registry, d.env.From
		p.Gates = d.env.Gates.Describe()
		p.Repository, p.GitRepository = d.env.Repository, d.env.GitOps.Repo
	}
	for _, s := range steps {
		p.Steps = append(p.Steps, strings.TrimSpace(s.Name+" "+s.About))
	}
	p.Rules = gitflow.Rules(d.config)
	if p.NotMergedBack, err = d.notMergedBack(ctx); err != nil {
		return nil, err
	}
	p.Warnings = append(d.commitWarnings(), git.Reminders(p.NotMergedBack, config.Develop)...)
	p.Warnings = append(p.Warnings, d.config.Test.Warnings...)
	if d.config.Test.Unset != nil {
		p.Warnings = append(p.Warnings, d.config.Test.Unset.Error())
	}
	if d.env == nil || d.env.From == "" {
		d.planKeys(ctx, p, source)
	}
	return p, nil
}

// planLimit bounds how long a plan asks registries.
const planLimit = 10 * time.Second

// planKeys adds the keys, and what the registry has for them. A plan is of use without them, so what fails is a warning.
func (d *Delivery) planKeys(ctx context.Context, p *Plan, source delivery.Source) {
	if _, err := d.dockerfile(); err != nil || d.Tarball != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	k, err := d.keys(ctx, source)
	if err == nil && k == nil {
		err = errNoStage
	}
	if err != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the key of the image is not known: %v", err))
		return
	}
	p.BuildKey, p.SourceKey, p.TestKey = k.image.Build, k.image.Source, k.tests.Build
	if d.hasRegistry() {
		if err := d.ask(ctx, source, k); err != nil {
			p.Warnings = append(p.Warnings, fmt.Sprintf("what the registry has is not known: %v", err))
		} else {
			p.BuildKey, p.NotReused = k.image.Build, k.why
		}
	}
	p.Images, p.Generation = k.image.Images, k.engineGeneration(false)
	if k.found() {
		if p.Recorded, err = d.recorded(ctx, k); err != nil {
			p.Warnings = append(p.Warnings, fmt.Sprintf("how the image was tested is not known: %v", err))
		}
	}
	if d.Explain {
		p.Explain = append(k.image.Entries, key.Prefixed("test", k.tests.Entries)...)
	}
}

// recorded returns what is known about the image of a key.
func (d *Delivery) recorded(ctx context.Context, k *known) (*RecordedImage, error) {
	r := &RecordedImage{Digest: k.digest}
	repository, err := d.open(ctx, image.ReadOnly)
	if err != nil {
		return r, err
	}
	if r.Time, err = d.ofThisSource(ctx, repository, k); err != nil {
		return r, err
	}
	r.Verified = d.env.Verify.Asks()
	results, err := d.testResults(ctx, repository, k.digest)
	if err != nil {
		return r, err
	}
	if before := evidence.PassedBy(results, k.tests.Build); before != nil {
		r.Tests = evidence.Summary(*before)
	}
	return r, nil
}

// commitWarnings says which arguments of the Dockerfile make each commit a new image. A Dockerfile that cannot be read is
// found by the build.
func (d *Delivery) commitWarnings() []string {
	text, err := d.dockerfile()
	if err != nil {
		return nil
	}
	var warnings []string
	for _, name := range build.CommitArgs(d.config, text) {
		warnings = append(warnings, fmt.Sprintf("the Dockerfile declares ARG %s, which is set from the commit: each commit builds what follows it again, and makes another image of the same source; remove it, or set build.args.%s", name, name))
	}
	return warnings
}

// notMergedBack returns what the branch of a promoted environment has and develop lacks, by GitFlow: the next release would
// not have it.
func (d *Delivery) notMergedBack(ctx context.Context) ([]git.Unmerged, error) {
	if d.config.Flow != config.GitFlow || d.env == nil || d.env.From == "" || d.Decision.Version == "" {
		return nil, nil
	}
	return git.NotMergedBack(ctx, d.config.Dir(), d.Ref, config.Develop)
}
