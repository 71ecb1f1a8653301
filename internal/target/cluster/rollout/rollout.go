// Package rollout replaces the pods of one Deployment in stages: a canary gets a growing part of the requests, a
// blue-green release gets all of them at once after it is ready.
//
// It applies through an [Applier], which can undo what was applied, and returns an [Outcome]. Package traffic makes the
// objects.
package rollout

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

// Applier applies changes so that they can be undone.
type Applier interface {
	// Apply carries out changes in the order of their stages, and waits where the next stage needs it.
	Apply(context.Context, []plan.Change) error
	// ApplyOne carries out one change.
	ApplyOne(context.Context, plan.Change) error
	// Applied returns an object as the server returned it, or nil.
	Applied(plan.Ref) *unstructured.Unstructured
	// AppliedObjects returns all objects as the server returned them.
	AppliedObjects() []*unstructured.Unstructured
	// Verify checks that the pods run the release's image.
	Verify(context.Context) error
}

// Options describe the release.
type Options struct {
	Strategy Strategy
	// Image is the delivered image; the strategy is meant for the Deployment that runs it. Empty means any Deployment.
	Image string
	// Live are the objects that the cluster had before the release.
	Live map[plan.Ref]*unstructured.Unstructured
	// Watch says how to wait for objects.
	Watch watch.Options
}

// Outcome is what became of a rollout that did not fail.
type Outcome struct {
	// Held is what the release waits for, "" if it is finished. It is resumed by Run with a later stage.
	Held string
	// Deployment is the one that was replaced.
	Deployment plan.Ref
	// Removed are the objects that existed only during the rollout.
	Removed []plan.Ref
}

// Rollout is one canary or blue-green release.
type Rollout struct {
	cluster  *kube.Cluster
	applier  Applier
	options  Options
	strategy Strategy
	track    traffic.Track

	deployment plan.Change   // the one in the manifests
	hash       string        // of the pods that it has
	services   []plan.Change // that select its pods
	routes     []plan.Change // of a canary, that send requests to one of the services
	budgets    []plan.Change // that count its pods, when the two versions get separate traffic
	early      []plan.Change // what both versions need
	late       []plan.Change // what is applied together with the new version

	mu      sync.Mutex
	seconds []*unstructured.Unstructured // what is removed in the end

	sizing  sync.Mutex // held while the second Deployment is applied
	stable  int64      // how many pods the first one has
	percent int        // of a canary's stage; 0 before the first one
}

// New prepares a rollout by stages. It returns nil when there are no requests to split: no Deployment that runs already
// gets a new pod template, or the strategy is Rolling.
func New(ctx context.Context, c *kube.Cluster, a Applier, o Options, changes []plan.Change) (*Rollout, error) {
	s := o.Strategy
	if s.Kind == "" || s.Kind == Rolling {
		return nil, nil
	}
	p := &Rollout{cluster: c, applier: a, options: o, strategy: s, track: traffic.Canary}
	if s.Kind == BlueGreen {
		p.track = traffic.Next
	} else if len(s.Percent) == 0 {
		p.strategy.Percent = defaultPercent
	}
	found := false
	for _, change := range changes {
		if !o.isShifted(change) {
			continue
		}
		if found {
			return nil, fmt.Errorf("a %s release is for one Deployment, and both %s and %s change: deploy them one after the other, or rolling", s.Kind, p.deployment.Ref(), change.Ref())
		}
		p.deployment, found = change, true
	}
	if !found {
		report.Info(ctx, "no Deployment that runs gets new pods, so there are no requests to split: deploying at once")
		return nil, nil
	}
	p.stable = plan.Replicas(p.deployment.Live)
	var err error
	if p.hash, err = c.TemplateHash(ctx, p.deployment.Live); err != nil {
		return nil, kube.Explain("the ReplicaSets of "+p.deployment.Ref().String(), err)
	}
	for _, change := range changes {
		if traffic.Selects(change.Object, p.deployment.Object) {
			p.services = append(p.services, change)
		}
	}
	if len(p.services) == 0 || p.hash == "" {
		return nil, fmt.Errorf("a %s release needs a Service in the manifests that selects the pods of %s, and there is none: add one, or deploy rolling", s.Kind, p.deployment.Ref())
	}
	p.sort(changes)
	return p, nil
}

// sort divides the changes by their part in the rollout.
func (p *Rollout) sort(changes []plan.Change) {
	for _, change := range changes {
		ref := change.Ref()
		routed := func(s plan.Change) bool { return traffic.Routes(change.Object, s.Object.GetName()) }
		switch {
		case slices.ContainsFunc(p.services, func(s plan.Change) bool { return s.Ref() == ref }):
		case p.strategy.Kind == Canary && slices.ContainsFunc(p.services, routed):
			p.routes = append(p.routes, change)
		case traffic.Guards(change.Object, p.deployment.Object):
			p.budgets = append(p.budgets, change)
		case isEarly(change):
			p.early = append(p.early, change)
		default:
			p.late = append(p.late, change)
		}
	}
	if !p.separateTraffic() {
		p.late, p.budgets = append(p.late, p.budgets...), nil
	}
}

// isEarly reports whether a change is applied before the new version's pods.
func isEarly(change plan.Change) bool {
	wave, _ := plan.WaveOf(change.Object)
	return wave < 0 || wave == 0 && plan.StageOf(change.Ref().GroupKind()) < plan.Workloads
}

// separateTraffic reports whether no Service sends requests to both versions.
func (p *Rollout) separateTraffic() bool { return p.strategy.Kind == BlueGreen || len(p.routes) > 0 }

// isShifted reports whether a change gives new pods to a Deployment that the strategy is meant for.
func (o *Options) isShifted(c plan.Change) bool {
	if c.Ref().GroupKind() != plan.DeploymentKind || c.Live == nil || c.Action == plan.Unchanged || c.Merged == nil {
		return false
	}
	was, _, _ := unstructured.NestedMap(c.Live.Object, "spec", "template")
	is, _, _ := unstructured.NestedMap(c.Merged.Object, "spec", "template")
	if equality.Semantic.DeepEqual(was, is) {
		return false
	}
	if o.Image == "" {
		return true
	}
	runs := false
	manifest.Images(c.Object.Object, func(i manifest.Image) { runs = runs || i.Ref() == o.Image })
	return runs
}

// Run goes through the stages, from the one given on. It ends early when the strategy holds.
func (p *Rollout) Run(ctx context.Context, from int) (Outcome, error) {
	out := Outcome{Deployment: p.deployment.Ref()}
	if err := p.applier.Apply(ctx, p.early); err != nil {
		return out, err
	}
	err := p.following(ctx, func(ctx context.Context) (err error) {
		stages := p.canary
		if p.strategy.Kind == BlueGreen {
			stages = p.blueGreen
		}
		if out.Held, err = stages(ctx, from); err != nil || out.Held != "" {
			return err
		}
		return p.finish(ctx)
	})
	if err != nil || out.Held != "" {
		return out, err
	}
	if err := p.applier.Verify(ctx); err != nil {
		return out, err
	}
	// A Gateway that still has the weights must find the second Service.
	Drain(ctx, p.cluster, p.options.Watch, plan.Objects(p.routes))
	out.Removed, err = p.removeSeconds(ctx)
	return out, err
}

// canary goes through the stages. It returns what the release waits for, "" if it went through all of them.
func (p *Rollout) canary(ctx context.Context, from int) (held string, err error) {
	if p.separateTraffic() {
		if err := p.separate(ctx); err != nil {
			return "", err
		}
	}
	for i, percent := range p.strategy.Percent {
		if i < from {
			continue
		}
		if err := p.startSecond(ctx, percent); err != nil {
			return "", err
		}
		if err := p.smoke(ctx); err != nil {
			return "", err
		}
		if err := p.weigh(ctx, percent); err != nil {
			return "", err
		}
		report.Info(ctx, "the canary of %s gets %s", p.deployment.Ref(), p.share())
		if p.strategy.Hold && i == 0 {
			return "the canary gets " + p.share(), nil
		}
		if err := p.soak(ctx); err != nil {
			return "", err
		}
	}
	return "", nil
}

// weigh gives the routes the weights of a stage and returns when the Gateways have taken them.
func (p *Rollout) weigh(ctx context.Context, percent int) error {
	var applied []*unstructured.Unstructured
	for _, route := range p.routes {
		for _, service := range p.services {
			name := service.Object.GetName()
			if traffic.Routes(route.Object, name) {
				route.Object = traffic.Weigh(route.Object, name, traffic.Name(name, p.track), percent)
			}
		}
		if err := p.applier.ApplyOne(ctx, route.Forced()); err != nil {
			return err
		}
		applied = append(applied, p.applier.Applied(route.Ref()))
	}
	return watch.Await(ctx, p.cluster, applied, p.options.Watch)
}

// blueGreen starts the second version and turns the Services to it. It returns what the release waits for, "" if the
// Services are turned.
func (p *Rollout) blueGreen(ctx context.Context, from int) (held string, err error) {
	if from == 0 {
		if err := p.separate(ctx); err != nil {
			return "", err
		}
	}
	if err := p.startSecond(ctx, 100); err != nil {
		return "", err
	}
	if err := p.smoke(ctx); err != nil {
		return "", err
	}
	if p.strategy.Hold && from == 0 {
		return "the new version is ready, and gets no requests yet", nil
	}
	err = p.turn(ctx, p.services, func(s *unstructured.Unstructured) *unstructured.Unstructured { return traffic.ToTrack(s, p.track) })
	if err != nil {
		return "", err
	}
	report.Info(ctx, "the requests for %s go to the new version", p.deployment.Ref())
	return "", p.soak(ctx)
}

// smoke runs the smoke tests against the new version.
func (p *Rollout) smoke(ctx context.Context) error {
	return RunSmoke(ctx, p.cluster, p.options.Watch.Namespace, p.strategy.Smoke, p.secondService())
}

// finish makes the manifests' own objects the new version. The second ones may be removed then.
func (p *Rollout) finish(ctx context.Context) error {
	services, routes, budgets := p.services, p.routes, p.budgets
	if p.separateTraffic() { // their selectors were changed
		services, routes, budgets = forced(services), forced(routes), forced(budgets)
	}
	if p.strategy.Kind == BlueGreen {
		// The Service stays with the second version until the first one is the new one too.
		if err := p.applyAndAwait(ctx, p.late); err != nil {
			return err
		}
		return p.applier.Apply(ctx, slices.Concat(services, budgets))
	}
	// From now on the first Deployment's pods are of both versions, and both get requests.
	if err := p.applier.Apply(ctx, budgets); err != nil {
		return err
	}
	return p.applyAndAwait(ctx, slices.Concat(services, p.late, routes))
}

func forced(changes []plan.Change) []plan.Change {
	out := make([]plan.Change, len(changes))
	for i, c := range changes {
		out[i] = c.Forced()
	}
	return out
}

func (p *Rollout) applyAndAwait(ctx context.Context, changes []plan.Change) error {
	if err := p.applier.Apply(ctx, changes); err != nil {
		return err
	}
	return watch.Await(ctx, p.cluster, p.applier.AppliedObjects(), p.options.Watch)
}

// startSecond runs the new version beside the old one, for that part of the requests, behind Services of its own.
func (p *Rollout) startSecond(ctx context.Context, percent int) error {
	if err := p.resize(ctx, percent); err != nil {
		return err
	}
	for _, service := range p.services {
		if err := p.applySecond(ctx, traffic.SecondService(service.Object, p.track)); err != nil {
			return err
		}
	}
	return p.watchSecond(ctx, 0)
}

// resize gives the second Deployment the pods that it needs for that part of the requests.
func (p *Rollout) resize(ctx context.Context, percent int) error {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	p.percent = percent
	return p.applySized(ctx)
}

// applySized applies those second objects that depend on how many pods there are.
func (p *Rollout) applySized(ctx context.Context) error {
	replicas := p.replicas()
	for _, budget := range p.budgets {
		if err := p.applySecond(ctx, traffic.SecondBudget(budget.Object, p.track, replicas)); err != nil {
			return err
		}
	}
	return p.applySecond(ctx, traffic.Second(p.deployment.Object, p.track, replicas))
}

// replicas is how many pods the second Deployment has at this stage.
func (p *Rollout) replicas() int64 {
	if p.strategy.Kind == BlueGreen {
		return max(1, p.stable)
	}
	return traffic.Replicas(p.stable, p.percent, len(p.routes) > 0)
}

func (p *Rollout) share() string {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	return traffic.Describe(p.percent, len(p.routes) > 0, p.replicas(), p.stable)
}

// applySecond applies an object that exists only during the release.
func (p *Rollout) applySecond(ctx context.Context, o *unstructured.Unstructured) error {
	ref := plan.RefOf(o)
	change := plan.Change{Object: o, Live: p.options.Live[ref], Action: plan.Created} // live since an earlier stage that held
	if p.applier.Applied(ref) != nil || change.Live != nil {
		change.Action = plan.Configured
	}
	p.mu.Lock()
	if !slices.ContainsFunc(p.seconds, func(s *unstructured.Unstructured) bool { return plan.RefOf(s) == ref }) {
		p.seconds = append(p.seconds, o)
	}
	p.mu.Unlock()
	return p.applier.ApplyOne(ctx, change)
}

// watchSecond returns when the second Deployment is ready, and no earlier than after keep.
func (p *Rollout) watchSecond(ctx context.Context, keep time.Duration) error {
	second := p.deployment.Ref()
	second.Name = traffic.Name(second.Name, p.track)
	options := p.options.Watch
	options.Keep = keep
	return watch.Await(ctx, p.cluster, []*unstructured.Unstructured{p.applier.Applied(second)}, options)
}

// soak watches a stage for as long as the strategy pauses, and fails when the new pods do.
func (p *Rollout) soak(ctx context.Context) error {
	if p.strategy.Pause == 0 {
		return nil
	}
	report.Info(ctx, "watching for %s", report.Span(p.strategy.Pause))
	if err := p.watchSecond(ctx, p.strategy.Pause); err != nil {
		return err
	}
	return p.smoke(ctx)
}

// separate turns the Services, and the budgets with them, to the pods that run now.
func (p *Rollout) separate(ctx context.Context) error {
	return p.turn(ctx, slices.Concat(p.services, p.budgets), func(o *unstructured.Unstructured) *unstructured.Unstructured {
		return traffic.ToHash(o, p.hash)
	})
}

// turn applies objects with another selector.
func (p *Rollout) turn(ctx context.Context, changes []plan.Change, to func(*unstructured.Unstructured) *unstructured.Unstructured) error {
	for _, c := range changes {
		turned := c.Forced()
		turned.Object = to(c.Object)
		if err := p.applier.ApplyOne(ctx, turned); err != nil {
			return err
		}
	}
	return nil
}

func (p *Rollout) secondService() string {
	return traffic.Name(p.services[0].Object.GetName(), p.track)
}

// removeSeconds deletes the objects that exist only during the release, and returns those that did.
func (p *Rollout) removeSeconds(ctx context.Context) (removed []plan.Ref, err error) {
	for _, o := range p.seconds {
		ref := plan.RefOf(o)
		now, err := p.cluster.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if err != nil {
			return removed, kube.Explain(ref.String(), err)
		}
		if now == nil {
			continue
		}
		if err := p.cluster.Remove(ctx, now, false); err != nil {
			return removed, kube.Explain("removing "+ref.String(), err)
		}
		removed = append(removed, ref)
	}
	return removed, nil
}
