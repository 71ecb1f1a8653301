package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/target/cluster/traffic"
)

// check says what is wrong with a strategy.
func (s *Strategy) check() error {
	switch s.Kind {
	case "", Rolling, Canary, BlueGreen:
	default:
		return fmt.Errorf("there is no strategy %q: use %s, %s or %s", s.Kind, Rolling, Canary, BlueGreen)
	}
	if len(s.Percent) > 0 && s.Kind != Canary {
		return errors.New("stages in percent are for a canary release only")
	}
	if !slices.IsSorted(s.Percent) || slices.ContainsFunc(s.Percent, func(p int) bool { return p < 1 || p > 99 }) {
		return fmt.Errorf("the stages of a canary grow, and each is between 1 and 99 percent: not %v", s.Percent)
	}
	return nil
}

var defaultPercent = []int{10, 50}

// progressive is a canary or blue-green release under way.
type progressive struct {
	*delivery
	strategy Strategy
	track    traffic.Track

	deployment step                         // the one in the manifests
	hash       string                       // of the pods that it has
	services   []step                       // in front of it
	routes     []step                       // of a canary, that send requests to one of the services
	budgets    []step                       // that count its pods, when the two versions serve apart
	early      []step                       // what both versions need
	late       []step                       // what the new version's Deployment goes with
	seconds    []*unstructured.Unstructured // what is removed in the end
	began      time.Time

	sizing  sync.Mutex // held while the second Deployment is applied
	stable  int64      // how many pods the first one has
	percent int        // of a canary's stage; 0 before the first one
}

// progressive prepares a release by stages, or is nil when there is nothing to be careful with: no Deployment that runs
// already gets a new pod template.
func (d *delivery) progressive(ctx context.Context, steps []step, began time.Time) (*progressive, error) {
	s := d.release.Strategy
	if s.Kind == "" || s.Kind == Rolling {
		return nil, nil
	}
	p := &progressive{delivery: d, strategy: s, track: traffic.Canary, began: began}
	if s.Kind == BlueGreen {
		p.track = traffic.Next
	} else if len(s.Percent) == 0 {
		p.strategy.Percent = defaultPercent
	}
	found := false
	for _, st := range steps {
		if !d.isShifted(st) {
			continue
		}
		if found {
			return nil, fmt.Errorf("a %s release is for one Deployment, and both %s and %s change: deploy them apart, or rolling", s.Kind, p.deployment.ref(), st.ref())
		}
		p.deployment, found = st, true
	}
	if !found {
		report.Info(ctx, "no Deployment that runs gets new pods, so there is nothing to split requests between: deploying at once")
		return nil, nil
	}
	p.stable = plan.Replicas(p.deployment.live)
	sets, err := d.cluster.replicaSetsOf(ctx, p.deployment.live)
	if err != nil {
		return nil, explain("the ReplicaSets of "+p.deployment.ref().String(), err)
	}
	for _, rs := range sets {
		if rs.Annotations[deploymentRevision] == p.deployment.live.GetAnnotations()[deploymentRevision] {
			p.hash = rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	for _, st := range steps {
		if traffic.Selects(st.object, p.deployment.object) {
			p.services = append(p.services, st)
		}
	}
	if len(p.services) == 0 || p.hash == "" {
		return nil, fmt.Errorf("a %s release needs a Service in the manifests that selects the pods of %s, and there is none: add one, or deploy rolling", s.Kind, p.deployment.ref())
	}
	for _, st := range steps {
		ref := st.ref()
		switch {
		case slices.ContainsFunc(p.services, func(s step) bool { return s.ref() == ref }):
		case s.Kind == Canary && slices.ContainsFunc(p.services, func(s step) bool { return traffic.Routes(st.object, s.object.GetName()) }):
			p.routes = append(p.routes, st)
		case traffic.Guards(st.object, p.deployment.object):
			p.budgets = append(p.budgets, st)
		case plan.StageOf(ref.GroupKind()) < plan.Workloads:
			p.early = append(p.early, st)
		default:
			p.late = append(p.late, st)
		}
	}
	if !p.apart() {
		p.late, p.budgets = append(p.late, p.budgets...), nil
	}
	return p, nil
}

// apart says that no Service sends requests to both versions.
func (p *progressive) apart() bool { return p.strategy.Kind == BlueGreen || len(p.routes) > 0 }

// isShifted says that a step gives new pods to a Deployment that the strategy is meant for.
func (d *delivery) isShifted(s step) bool {
	if s.ref().GroupKind() != deploymentKind || s.live == nil || s.status == Unchanged || s.merged == nil {
		return false
	}
	was, _, _ := unstructured.NestedMap(s.live.Object, "spec", "template")
	is, _, _ := unstructured.NestedMap(s.merged.Object, "spec", "template")
	if jsonEqual(was, is) {
		return false
	}
	if d.release.Image == "" {
		return true
	}
	runs := false
	manifest.Containers(s.object.Object, func(_ string, container map[string]any) {
		runs = runs || container["image"] == d.release.Image
	})
	return runs
}

// run goes through the stages from the one given on. It ends early, with Result.Held set, when the strategy holds.
func (p *progressive) run(ctx context.Context, from int) error {
	if err := p.apply(ctx, p.early); err != nil {
		return err
	}
	err := p.following(ctx, func(ctx context.Context) error {
		stages := p.canary
		if p.strategy.Kind == BlueGreen {
			stages = p.blueGreen
		}
		if err := stages(ctx, from); err != nil || p.result.Held {
			return err
		}
		return p.finish(ctx)
	})
	if err != nil || p.result.Held {
		return err
	}
	if err := p.cluster.verifyImage(ctx, &p.release, p.appliedObjects()); err != nil {
		return err
	}
	// A Gateway that still has the weights must find the second Service.
	p.drain(ctx, objectsOf(p.routes))
	return p.removeSeconds(ctx)
}

func (p *progressive) canary(ctx context.Context, from int) error {
	if p.apart() {
		if err := p.separate(ctx); err != nil {
			return err
		}
	}
	for i, percent := range p.strategy.Percent {
		if i < from {
			continue
		}
		if err := p.startSecond(ctx, percent); err != nil {
			return err
		}
		if err := p.smoke(ctx, p.strategy.Smoke, p.secondService()); err != nil {
			return err
		}
		for _, route := range p.routes {
			for _, service := range p.services {
				name := service.object.GetName()
				if traffic.Routes(route.object, name) {
					route.object = traffic.Weigh(route.object, name, traffic.Name(name, p.track), percent)
				}
			}
			if err := p.applyOne(ctx, changedStep(route)); err != nil {
				return err
			}
		}
		if err := p.taken(ctx, p.routes); err != nil {
			return err
		}
		report.Info(ctx, "the canary of %s gets %s", p.deployment.ref(), p.share())
		if p.strategy.Hold && i == 0 {
			return p.hold(ctx, "the canary gets "+p.share())
		}
		if err := p.soak(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *progressive) blueGreen(ctx context.Context, from int) error {
	if from == 0 {
		if err := p.separate(ctx); err != nil {
			return err
		}
	}
	if err := p.startSecond(ctx, 100); err != nil {
		return err
	}
	if err := p.smoke(ctx, p.strategy.Smoke, p.secondService()); err != nil {
		return err
	}
	if p.strategy.Hold && from == 0 {
		return p.hold(ctx, "the new version is ready, and gets no requests yet")
	}
	err := p.turn(ctx, p.services, func(s *unstructured.Unstructured) *unstructured.Unstructured { return traffic.ToTrack(s, p.track) })
	if err != nil {
		return err
	}
	report.Info(ctx, "the requests for %s go to the new version", p.deployment.ref())
	return p.soak(ctx)
}

// finish makes the manifests' own objects the new version. The second ones may go then.
func (p *progressive) finish(ctx context.Context) error {
	services, routes, budgets := slices.Clone(p.services), slices.Clone(p.routes), slices.Clone(p.budgets)
	if p.apart() { // they were turned
		for _, steps := range [][]step{services, routes, budgets} {
			for i := range steps {
				steps[i] = changedStep(steps[i])
			}
		}
	}
	late := slices.Clone(p.late)
	if p.strategy.Kind == BlueGreen {
		// The Service stays with the second version until the first one is the new one too.
		if err := p.applyAndAwait(ctx, late, p.began); err != nil {
			return err
		}
		return p.apply(ctx, slices.Concat(services, budgets))
	}
	// From now on the first one's pods are of both versions, and both serve.
	if err := p.apply(ctx, budgets); err != nil {
		return err
	}
	return p.applyAndAwait(ctx, slices.Concat(services, late, routes), p.began)
}

// startSecond runs the new version beside the old one, for that part of the requests, behind Services of its own.
func (p *progressive) startSecond(ctx context.Context, percent int) error {
	if err := p.resize(ctx, percent); err != nil {
		return err
	}
	for _, service := range p.services {
		if err := p.applySecond(ctx, traffic.SecondService(service.object, p.track)); err != nil {
			return err
		}
	}
	return p.watchSecond(ctx, 0)
}

// resize gives the second Deployment the pods that it needs for that part of the requests.
func (p *progressive) resize(ctx context.Context, percent int) error {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	p.percent = percent
	return p.applySized(ctx)
}

// applySized applies those second objects that depend on how many pods there are.
func (p *progressive) applySized(ctx context.Context) error {
	replicas := p.replicas()
	for _, budget := range p.budgets {
		if err := p.applySecond(ctx, traffic.SecondBudget(budget.object, p.track, replicas)); err != nil {
			return err
		}
	}
	return p.applySecond(ctx, traffic.Second(p.deployment.object, p.track, replicas))
}

// replicas is how many pods the second Deployment has at this stage.
func (p *progressive) replicas() int64 {
	if p.strategy.Kind == BlueGreen {
		return max(1, p.stable)
	}
	return traffic.Replicas(p.stable, p.percent, len(p.routes) > 0)
}

func (p *progressive) share() string {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	return traffic.Describe(p.percent, len(p.routes) > 0, p.replicas(), p.stable)
}

// applySecond applies an object that is there for the length of the release only.
func (p *progressive) applySecond(ctx context.Context, o *unstructured.Unstructured) error {
	ref := plan.RefOf(o)
	status := Created
	p.mu.Lock()
	before := p.live.objects[ref] // since an earlier stage that held
	if p.applied[ref] != nil || before != nil {
		status = Configured
	}
	if !slices.ContainsFunc(p.seconds, func(s *unstructured.Unstructured) bool { return plan.RefOf(s) == ref }) {
		p.seconds = append(p.seconds, o)
	}
	p.mu.Unlock()
	return p.applyOne(ctx, step{object: o, live: before, status: status})
}

func (p *progressive) watchSecond(ctx context.Context, keep time.Duration) error {
	second := p.deployment.ref()
	second.Name = traffic.Name(second.Name, p.track)
	p.mu.Lock()
	applied := p.applied[second]
	p.mu.Unlock()
	return p.cluster.watchFor(ctx, &p.release, []*unstructured.Unstructured{applied}, p.began, keep)
}

// soak watches a stage for as long as the strategy pauses, and fails when the new pods do.
func (p *progressive) soak(ctx context.Context) error {
	if p.strategy.Pause == 0 {
		return nil
	}
	report.Info(ctx, "watching for %s", p.strategy.Pause)
	if err := p.watchSecond(ctx, p.strategy.Pause); err != nil {
		return err
	}
	return p.smoke(ctx, p.strategy.Smoke, p.secondService())
}

// separate turns the Services, and the budgets with them, to the pods that run now.
func (p *progressive) separate(ctx context.Context) error {
	return p.turn(ctx, slices.Concat(p.services, p.budgets), func(o *unstructured.Unstructured) *unstructured.Unstructured {
		return traffic.ToHash(o, p.hash)
	})
}

// turn applies objects with another selector.
func (p *progressive) turn(ctx context.Context, steps []step, to func(*unstructured.Unstructured) *unstructured.Unstructured) error {
	for _, s := range steps {
		turned := changedStep(s)
		turned.object = to(s.object)
		if err := p.applyOne(ctx, turned); err != nil {
			return err
		}
	}
	return nil
}

// changedStep is a step that is carried out though the manifests' own object may be what the cluster has.
func changedStep(s step) step {
	if s.status == Unchanged {
		s.status = Configured
	}
	return s
}

func (p *progressive) secondService() string {
	return traffic.Name(p.services[0].object.GetName(), p.track)
}

// hold ends the deploy in the middle, to be taken up by Promote or Reject.
func (p *progressive) hold(ctx context.Context, message string) error {
	p.revision.Status, p.revision.Message = RevisionHeld, message
	if err := p.cluster.writeRevision(ctx, p.release.App, p.release.Namespace, &p.revision, nil); err != nil {
		return err
	}
	p.result.Held = true
	p.note(p.deployment.ref(), Held, message)
	report.Info(ctx, "revision %d is held: %s. `aksflow promote` goes on with it, `aksflow reject` undoes it", p.revision.Number, message)
	return nil
}

// removeSeconds deletes what was there for the length of the release only.
func (p *progressive) removeSeconds(ctx context.Context) error {
	for _, o := range p.seconds {
		client, err := p.cluster.resource(ctx, o.GroupVersionKind(), o.GetNamespace())
		if err != nil {
			return err
		}
		now, err := p.cluster.get(ctx, client, o.GetName())
		if err != nil {
			return explain(plan.RefOf(o).String(), err)
		}
		if now == nil {
			continue
		}
		if err := p.cluster.remove(ctx, now, false); err != nil {
			return explain("removing "+plan.RefOf(o).String(), err)
		}
		p.note(plan.RefOf(o), Removed, "")
	}
	return nil
}
