package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/semver"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gitflow"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/access"
	"github.com/aksflow/aksflow/internal/flow/resolve"
	"github.com/aksflow/aksflow/internal/flow/signing"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/target"
)

// Delivery is a request with its configuration read and its environment resolved.
type Delivery struct {
	Request
	// Decision is what the git ref says; only its Environment and Reason are set when Env named the environment.
	Decision gitflow.Decision

	config  *config.Config
	env     *delivery.Environment // nil: build and test only
	targets []namedTarget
	engine  containers
	target  target.Target // of env
	image   ref.Ref

	builtFrom delivery.Source
	found     bool // builtFrom is known

	context       string // the directory that is built from; "" before the first build
	removeContext func() error

	warned  map[string]bool // of secrets that are too short to be hidden, by their names
	secrets report.Scrubber

	byHand         bool              // what is checked out is not asked when an image is promoted
	gitRef         string            // the one that decided; "" when none was asked
	known          *known            // of the source; nil before it is looked up
	basesMu        sync.Mutex        // guards bases
	bases          map[string]string // the digests of images of registries, by their names
	saidUnverified bool
	results        *build.Results // of tests that passed on an image that the registry does not have yet

	suites []Part // the suites that run; nil means all

	scratchDir string // for files that Close removes; "" before the first one
}

// Open reads aksflow.yaml, finds the environment and resolves it. It reaches no network and changes nothing.
func Open(ctx context.Context, r Request) (*Delivery, error) {
	return open(ctx, r, targets())
}

// Close removes what the delivery left on this machine for its own use.
func (d *Delivery) Close() error {
	var err error
	if d.removeContext != nil {
		err = d.removeContext()
	}
	if d.scratchDir != "" {
		err = errors.Join(err, os.RemoveAll(d.scratchDir))
	}
	return err
}

func open(ctx context.Context, r Request, known []namedTarget) (*Delivery, error) {
	d := &Delivery{Request: r, targets: known}
	d.engine = onEngine{d}
	if r.WorkTree {
		d.builtFrom, d.found = delivery.Source{Dirty: true}, true
	}
	if r.Made != nil {
		d.engine = handedOver{d}
	}
	var err error
	if r.Image != "" {
		if d.image, err = ref.Parse(r.Image); err != nil {
			return nil, fault.Usagef("--image: %w", err)
		}
	}
	if r.Env == "" && r.Set.StandAlone() {
		d.config = &config.Config{App: r.Set.App}
		return d, d.resolve(&config.Environment{Target: known[0].name, GitOps: config.GitOps{Operator: config.ArgoCD}}, nil)
	}
	if d.config, err = config.Load(r.Config); err != nil {
		return nil, err
	}
	if err := d.decide(ctx); err != nil {
		return nil, err
	}
	variables, local, err := d.variables(d.Decision.Environment)
	if err != nil {
		return nil, err
	}
	if d.config, err = d.config.Expand(d.Decision.Environment, variables); err != nil {
		return nil, err
	}
	if env := d.config.Environments[d.Decision.Environment]; env != nil {
		err = d.resolve(env, local)
	}
	return d, err
}

// decide finds the environment: the one that was named, else the one of the git ref if that is asked for.
func (d *Delivery) decide(ctx context.Context) error {
	if d.ByRef {
		if err := d.decideByRef(ctx); err != nil {
			return err
		}
	}
	if d.Env == "" {
		return nil
	}
	if d.config.Environments[d.Env] == nil {
		return fault.Usagef("--env %s: %s has %s", d.Env, d.config.Path(), enumerate(d.config.Names()))
	}
	d.Decision.Environment, d.Decision.Reason = d.Env, "--env names it"
	return nil
}

// decideByRef asks package gitflow about the git ref, or where a commit is checked out about the tags of that commit. The
// version is named after the commit that the image is built from, so that a commit that changes something else makes no
// other version.
func (d *Delivery) decideByRef(ctx context.Context) error {
	head, commit, err := git.Head(d.config.Dir())
	if err != nil {
		return err
	}
	source, err := d.source(ctx)
	if err != nil {
		return err
	}
	refs := []string{cmp.Or(d.Ref, head)}
	if refs[0] == "HEAD" {
		tags, err := git.TagsAt(d.config.Dir(), commit)
		if err != nil {
			return err
		}
		semver.Sort(tags)
		slices.Reverse(tags)
		for i := range tags {
			tags[i] = "refs/tags/" + tags[i]
		}
		refs = append(tags, refs...)
	}
	for i, gitRef := range refs {
		decision := gitflow.Decide(d.config, gitRef, source.Commit)
		if i == 0 || decision.Environment != "" {
			d.Decision, d.gitRef = decision, gitRef
		}
		if decision.Environment != "" {
			break
		}
	}
	if source.Dirty {
		d.Decision = d.Decision.Dirty()
	}
	return nil
}

// variables returns the lookup for the values of aksflow.yaml, and the local platform if the environment is on it.
func (d *Delivery) variables(environment string) (config.Lookup, *resolve.LocalPlatform, error) {
	env := d.config.Environments[environment]
	if env == nil || env.Platform != config.LocalPlatform {
		return d.Variables, nil, nil
	}
	local, err := d.Local()
	if err != nil {
		return nil, nil, err
	}
	return func(name string) (string, bool) {
		if name == "AKSFLOW_REGISTRY" {
			return local.Registry, true
		}
		return d.Variables(name)
	}, local, nil
}

// resolve puts the environment together, and finds its target.
func (d *Delivery) resolve(from *config.Environment, local *resolve.LocalPlatform) error {
	env, err := resolve.Environment(d.config, from, resolve.Inputs{
		Settings: d.Set, Local: local, Azure: d.Azure, Access: d.outside(), Network: d.Network,
	})
	if err != nil {
		return err
	}
	for _, t := range d.targets {
		if t.name == env.Target {
			d.env, d.target = env, t.Target
			return nil
		}
	}
	return fault.Usagef("--target %q: want %s", env.Target, strings.Join(names(d.targets), " or "))
}

// outside is where credentials and secrets come from.
func (d *Delivery) outside() access.Source {
	return access.Source{Variables: d.Variables, Hide: d.hide}
}

// keyring has the keys that sign for the environment, and those that it trusts.
func (d *Delivery) keyring() signing.Keys {
	return signing.Keys{Source: d.outside(), Env: d.env, Abs: d.config.Abs, Vault: d.SigningKey}
}

// App is the application's name.
func (d *Delivery) App() string {
	if d.env != nil {
		return d.env.App
	}
	return d.config.App
}

// Environment returns the resolved environment, or a usage error that lists those that can be named.
func (d *Delivery) Environment() (*delivery.Environment, error) {
	if d.env != nil {
		return d.env, nil
	}
	return nil, fault.Usagef("which environment? Name one with --env: %s", enumerate(d.config.Names()))
}

// release is the release that the steps begin with.
func (d *Delivery) release(source delivery.Source) delivery.Release {
	return delivery.Release{
		Env: d.env, Image: d.image, Version: d.Decision.Version, Source: source, RunURL: d.RunURL, User: d.User,
	}
}

// source returns what the image is built from. It looks once, and warns of what makes the answer doubtful. Nothing is known
// without an aksflow.yaml.
func (d *Delivery) source(ctx context.Context) (delivery.Source, error) {
	if d.config.Path() == "" || d.found {
		return d.builtFrom, nil
	}
	dir := d.config.Abs(d.config.Build.Context)
	source, err := git.SourceOf(ctx, dir)
	if err != nil {
		return source, fmt.Errorf("finding out which commit %s is at: %w", dir, err)
	}
	if source.Dirty {
		report.Warn(ctx, "%s has changes that are not committed: what is delivered is recorded as %s, and gets no tag of its commit or its git ref",
			dir, shortRevision(source))
	}
	if source.Shallow {
		report.Warn(ctx, "the history of this clone ends at %.12s, so the commit that changed %s last is not known, and another clone may name another: fetch the whole history (actions/checkout: fetch-depth: 0)",
			source.Commit, dir)
	}
	d.builtFrom, d.found = source, true
	return source, nil
}

// shortRevision is a source's revision with 12 digits of the commit.
func shortRevision(s delivery.Source) string {
	s.Commit = fmt.Sprintf("%.12s", s.Commit)
	return cmp.Or(s.Revision(), "dirty")
}

func names(targets []namedTarget) []string {
	var out []string
	for _, t := range targets {
		out = append(out, t.name)
	}
	return out
}

func enumerate(names []string) string {
	if len(names) == 0 {
		return "no environments"
	}
	return strings.Join(slices.Clone(names), ", ")
}
