package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

// Target is the push target: it applies the manifests to the cluster and watches until the pods run the image.
type Target struct{}

var (
	_ target.Target      = Target{}
	_ target.Resumer     = Target{}
	_ target.Uninstaller = Target{}
)

// Steps implements target.Target: deploy.
func (t Target) Steps(r delivery.Release, o target.Options) ([]delivery.Step, error) {
	if r.Env.Manifests == "" {
		return nil, errNoManifests
	}
	return []delivery.Step{{
		Name: "deploy", About: r.Env.Manifests, Needs: []string{"publish"}, Changes: true,
		Limit: delivery.DefaultLimit + pauses(r.Env.Rollout),
		Check: func(ctx context.Context) error { return checkManifests(ctx, r, o) },
		Run: func(ctx context.Context, s *delivery.State) (delivery.Outcome, error) {
			s.Release.Image = t.settled(ctx, s.Release)
			return t.deploy(ctx, s.Release, o)
		},
	}}, nil
}

// settleLimit bounds how long a cluster that does not answer is asked for what runs there.
const settleLimit = 5 * time.Second

// settled is the image of a release, or the reference that runs where that is good enough.
func (t Target) settled(ctx context.Context, r delivery.Release) ref.Ref {
	if !r.Published {
		return r.Image
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	now, err := t.Current(ctx, r.Env)
	if err != nil {
		return r.Image // the deploy finds what is wrong, and says it
	}
	return target.Settle(ref.Read(now.Image), r.Image)
}

// checkManifests finds mistakes in the manifests before an image is built for them. A chart may ask the cluster, so only
// its path is checked.
func checkManifests(ctx context.Context, r delivery.Release, o target.Options) error {
	r.Image = ref.Ref{}
	if !render.IsChart(r.Env.Manifests) {
		_, err := render.Render(ctx, r.Env.Manifests, renderOptions(r, o))
		return err
	}
	if _, err := os.Stat(r.Env.Manifests); err != nil {
		return fault.Usage(fmt.Errorf("the Helm chart: %w", err))
	}
	return nil
}

// Validate renders a release's manifests as far as that needs no cluster, and returns how many objects there are. A chart's
// lookup finds nothing.
func Validate(ctx context.Context, r delivery.Release, o target.Options) (int, error) {
	objects, err := render.Render(ctx, r.Env.Manifests, renderOptions(r, o))
	return len(objects), err
}

// pauses is how long a canary is watched between its stages: that is no reason to end a deploy.
func pauses(r config.Rollout) time.Duration {
	return r.Pause * time.Duration(max(len(r.Percent), 2))
}

var errNoManifests = fault.Usagef("no manifests are named: say where they are with --manifests, or in aksflow.yaml")

func (t Target) deploy(ctx context.Context, r delivery.Release, o target.Options) (delivery.Outcome, error) {
	c, release, err := t.open(ctx, r, o)
	if err != nil {
		return delivery.Outcome{}, err
	}
	result, err := c.Deploy(ctx, release)
	if err == nil && r.Env.Local != nil && r.Env.Local.AppURL != nil {
		for _, service := range inFront(release) {
			report.Info(ctx, "Service/%s answers at %s", service.GetName(), r.Env.Local.AppURL(service.GetName(), cmp.Or(service.GetNamespace(), release.Namespace)))
		}
	}
	return outcome(result, err)
}

// inFront returns the Services of a release in front of pods that run its image.
func inFront(r Release) []*unstructured.Unstructured {
	runs := func(u *unstructured.Unstructured) (found bool) {
		manifest.Images(u.Object, func(i manifest.Image) { found = found || i.Ref() == r.Image })
		return found
	}
	var services []*unstructured.Unstructured
	for _, service := range r.Objects {
		if slices.ContainsFunc(r.Objects, func(u *unstructured.Unstructured) bool { return traffic.Selects(service, u) && runs(u) }) {
			services = append(services, service)
		}
	}
	return services
}

// open connects to the environment's cluster and renders the manifests.
func (t Target) open(ctx context.Context, r delivery.Release, o target.Options) (*Cluster, Release, error) {
	if r.Env.Manifests == "" {
		return nil, Release{}, errNoManifests
	}
	release, options := releaseOf(r, o), renderOptions(r, o)
	if !render.IsChart(r.Env.Manifests) {
		// What is wrong with files is found without a cluster.
		var err error
		if release.Objects, err = render.Render(ctx, r.Env.Manifests, options); err != nil {
			return nil, release, err
		}
	}
	c, err := connect(ctx, r.Env)
	if err != nil || release.Objects != nil {
		return c, release, err
	}
	release.Objects, err = c.Render(ctx, r.Env.App, r.Env.Manifests, options)
	return c, release, err
}

func connect(ctx context.Context, env *delivery.Environment) (*Cluster, error) {
	return Connect(ctx, kube.Options{
		Kubeconfig: env.Cluster.Kubeconfig, Context: env.Cluster.Context, Network: env.Network, Access: env.ClusterAccess,
	})
}

func renderOptions(r delivery.Release, o target.Options) render.Options {
	options := render.Options{
		Repository: sharedFiles(r.Env),
		Namespace:  namespaceOf(r.Env), ReleaseName: r.Env.ReleaseName, Values: valuesOf(r.Env), Set: r.Env.SetValues,
	}
	if r.Image.Repository == "" {
		return options
	}
	options.Images = []render.Image{{Ref: r.Image.String()}}
	if len(o.Replace) > 0 {
		options.Images = nil
	}
	for _, name := range o.Replace {
		options.Images = append(options.Images, render.Image{Ref: r.Image.String(), Replace: name})
	}
	return options
}

// sharedFiles is the directory whose files the kustomizations of an environment may share: Flux renders them with the whole
// repository at hand. "" means that each has its own files.
func sharedFiles(env *delivery.Environment) string {
	dir, err := filepath.Abs(env.Manifests)
	if err != nil || !env.OperatorApplies() || env.GitOps.Operator != config.Flux {
		return ""
	}
	top, _ := manifest.WorkTree(dir)
	return top
}

// valuesOf are a chart's values, the strongest last.
func valuesOf(env *delivery.Environment) []render.Values {
	var values []render.Values
	for _, file := range env.ValuesFiles {
		values = append(values, render.Values{File: file})
	}
	if len(env.Values) > 0 {
		values = append(values, render.Values{Inline: env.Values, Origin: "aksflow.yaml: environments." + env.Name + ".values"})
	}
	for _, file := range env.MoreValues {
		values = append(values, render.Values{File: file})
	}
	return values
}

// namespaceOf is where objects go that name no namespace.
func namespaceOf(env *delivery.Environment) string { return cmp.Or(env.Namespace, "default") }

// releaseOf is the release in the terms of this package, without its objects.
func releaseOf(r delivery.Release, o target.Options) Release {
	rules := rulesOf(o)
	rules.MakeNamespaces = r.Env.Local != nil
	return Release{
		App: r.Env.App, Namespace: namespaceOf(r.Env), Namespaces: r.Env.Namespaces,
		Image: r.Image.String(), Published: r.Published, SourceRevision: r.Source.Revision(), RunURL: r.RunURL, User: r.User, Note: r.Note,
		Strategy:   strategyOf(r.Env.Rollout),
		NoRollback: o.Push.NoRollback, Rules: rules,
	}
}

func rulesOf(o target.Options) Rules {
	return Rules{
		ForceConflicts: o.Push.ForceConflicts, Recreate: o.Push.Recreate, NoPrune: o.Push.NoPrune,
		PruneNamespaces: o.Push.PruneNamespaces, PruneVolumes: o.Push.PruneVolumes,
		PruneDefinitions: o.Push.PruneDefinitions, PruneKept: o.Push.PruneKept, Grace: o.Grace,
	}
}

func strategyOf(r config.Rollout) Strategy {
	out := Strategy{Kind: Kind(r.Strategy), Percent: r.Percent, Pause: r.Pause, Hold: r.Hold}
	for _, s := range r.Smoke {
		out.Smoke = append(out.Smoke, Smoke(s))
	}
	return out
}

// outcome tells flow what became of a deploy.
func outcome(r *Result, err error) (delivery.Outcome, error) {
	if r == nil {
		return delivery.Outcome{}, err
	}
	detail := &delivery.Deployed{Objects: []delivery.Object{}, Revision: r.Revision, RolledBack: r.RolledBack, Held: r.Held, Diff: r.Diff, Killed: r.Killed}
	for _, o := range r.Objects {
		detail.Objects = append(detail.Objects, delivery.Object{Ref: o.Ref, Status: o.Status, Message: o.Message})
	}
	out := delivery.Outcome{Detail: detail}
	switch {
	case err != nil && r.RolledBack:
		out.Summary = fmt.Sprintf("revision %d is back", r.Revision)
	case err != nil:
	case r.Held:
		out.Status, out.Summary = delivery.Held, fmt.Sprintf("revision %d is held: `aksflow resume` or `aksflow abort`", r.Revision)
	case !r.Changed():
		out.Status, out.Summary = delivery.Unchanged, "nothing to change: the cluster runs it"
	default:
		out.Summary = fmt.Sprintf("revision %d, %s", r.Revision, report.Count(len(r.Objects), "object"))
		if r.Killed > 0 {
			out.Summary += fmt.Sprintf("; it takes up from revision %d, whose deploy was killed", r.Killed)
		}
	}
	return out, err
}

// Diff implements target.Target.
func (t Target) Diff(ctx context.Context, r delivery.Release, o target.Options) (delivery.Outcome, error) {
	c, release, err := t.open(ctx, r, o)
	if err != nil {
		return delivery.Outcome{}, err
	}
	unified, err := c.Diff(ctx, release)
	if err != nil {
		return delivery.Outcome{}, err
	}
	return delivery.Outcome{Detail: &delivery.Difference{Diff: unified, Changed: unified != ""}}, nil
}

// Rollback implements target.Target: to is the number of a revision.
func (t Target) Rollback(ctx context.Context, r delivery.Release, to string, o target.Options) (delivery.Outcome, error) {
	revision := 0
	if to != "" {
		var err error
		if revision, err = strconv.Atoi(to); err != nil || revision < 1 {
			return delivery.Outcome{}, fault.Usagef("--to %q: want the number of a revision; `aksflow history` lists them", to)
		}
	}
	return t.decide(ctx, r, o, func(c *Cluster, of App) (*Result, error) { return c.Rollback(ctx, of, revision) })
}

// Resume implements target.Resumer.
func (t Target) Resume(ctx context.Context, r delivery.Release, o target.Options) (delivery.Outcome, error) {
	return t.decide(ctx, r, o, func(c *Cluster, of App) (*Result, error) { return c.Resume(ctx, of) })
}

// Abort implements target.Resumer.
func (t Target) Abort(ctx context.Context, r delivery.Release, o target.Options) (delivery.Outcome, error) {
	return t.decide(ctx, r, o, func(c *Cluster, of App) (*Result, error) { return c.Abort(ctx, of) })
}

// decide works on what was deployed before.
func (t Target) decide(ctx context.Context, r delivery.Release, o target.Options, do func(*Cluster, App) (*Result, error)) (delivery.Outcome, error) {
	c, err := connect(ctx, r.Env)
	if err != nil {
		return delivery.Outcome{}, err
	}
	return outcome(do(c, App{Name: r.Env.App, Namespace: namespaceOf(r.Env), User: r.User, RunURL: r.RunURL, PastJobs: o.Push.PastJobs, NoHooks: o.Push.NoHooks, Rules: rulesOf(o)}))
}

// Uninstall implements target.Uninstaller.
func (t Target) Uninstall(ctx context.Context, r delivery.Release, o target.Options) (delivery.Outcome, error) {
	out, err := t.decide(ctx, r, o, func(c *Cluster, of App) (*Result, error) { return c.Uninstall(ctx, of) })
	if deployed, ok := out.Detail.(*delivery.Deployed); ok {
		out.Detail = &delivery.Uninstalled{Objects: deployed.Objects}
		out.Summary = report.Count(len(deployed.Objects), "object")
	}
	return out, err
}

// History implements target.Target.
func (t Target) History(ctx context.Context, env *delivery.Environment) ([]delivery.Revision, error) {
	revisions, err := t.revisions(ctx, env)
	out := make([]delivery.Revision, 0, len(revisions))
	for _, r := range revisions {
		out = append(out, delivery.Revision{
			Number: r.Number, Status: string(r.Status), Image: r.Image, SourceRevision: r.SourceRevision, RunURL: r.RunURL,
			User: r.User, Time: r.Time, Message: r.Message,
		})
	}
	return out, err
}

func (t Target) revisions(ctx context.Context, env *delivery.Environment) ([]kube.Revision, error) {
	c, err := connect(ctx, env)
	if err != nil {
		return nil, err
	}
	return c.History(ctx, env.App, namespaceOf(env))
}

// Current implements target.Target.
func (t Target) Current(ctx context.Context, env *delivery.Environment) (target.Running, error) {
	revisions, err := t.revisions(ctx, env)
	if err != nil {
		return target.Running{}, err
	}
	if now := kube.Latest(revisions, kube.RevisionDeployed); now != nil {
		return target.Running{Image: now.Image, Source: now.SourceRevision, Since: now.Time}, nil
	}
	return target.Running{}, nil
}

// Apply applies objects to the environment's cluster. It keeps no record of them, and does not wait until they are ready.
func Apply(ctx context.Context, env *delivery.Environment, objects []*unstructured.Unstructured) error {
	c, err := connect(ctx, env)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if _, err := c.kube.Apply(ctx, o, kube.ApplyOptions{Force: true}); err != nil {
			return kube.Explain(o.GetKind()+"/"+o.GetName(), err)
		}
	}
	return nil
}
