package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/diff"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

// Cluster deploys apps to one Kubernetes cluster. It is safe for concurrent use.
type Cluster struct{ kube *kube.Cluster }

// New returns a Cluster for one that is connected.
func New(c *kube.Cluster) *Cluster { return &Cluster{c} }

// Connect connects to a cluster: see [kube.Connect].
func Connect(ctx context.Context, o kube.Options) (*Cluster, error) {
	c, err := kube.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// History returns an app's recorded revisions, the newest first.
func (c *Cluster) History(ctx context.Context, app, namespace string) ([]kube.Revision, error) {
	return c.kube.History(ctx, app, namespace)
}

// Deploy applies a release and returns when it runs. When it cannot run, what was there before is put back, and the
// error says why: usually a [*watch.RolloutError]. The Result says what became of each object in either case.
//
// Everything that the API server would refuse is found before anything is applied. A cancelled context also puts back
// what was there before; that takes a moment, so wait for Deploy to return.
func (c *Cluster) Deploy(ctx context.Context, r Release) (*Result, error) {
	t := c.begin(r)
	err := t.exclusively(ctx, t.deploy)
	return t.outcome(err), err
}

// Apply applies objects server-side in their order. It waits for nothing, keeps no record, prunes nothing and restores
// nothing: it is for what makes an operator follow a repository, and safe to repeat. Such an object is ready only when
// the app is, which may not be delivered yet.
func (c *Cluster) Apply(ctx context.Context, namespace string, objects []*unstructured.Unstructured) (*Result, error) {
	t := c.begin(Release{App: "setup", Namespace: namespace, Objects: objects, Rules: Rules{ForceConflicts: true}})
	// The objects decide which namespaces they are in.
	for _, o := range objects {
		if !slices.Contains(t.release.Namespaces, o.GetNamespace()) {
			t.release.Namespaces = append(t.release.Namespaces, o.GetNamespace())
		}
	}
	err := t.applyAll(ctx)
	return t.outcome(err), err
}

// applyAll applies the release's objects as they are.
func (t *transaction) applyAll(ctx context.Context) error {
	normal, err := t.cluster.normalize(ctx, &t.release)
	if err != nil {
		return err
	}
	t.objects = normal
	if err := t.mark(ctx); err != nil {
		return err
	}
	var changes []plan.Change
	for _, o := range normal {
		changes = append(changes, plan.Change{Object: o, Action: plan.Configured})
	}
	return t.Apply(ctx, changes)
}

// Diff returns what Deploy would change, as unified diffs in the order of the objects, with the values of Secrets masked.
// It returns "" when nothing would change.
func (c *Cluster) Diff(ctx context.Context, r Release) (string, error) {
	t := c.begin(r)
	if err := t.release.check(); err != nil {
		return "", err
	}
	objects, err := c.normalize(ctx, &t.release)
	if err != nil {
		return "", err
	}
	objects, t.hookObjects = separate(objects)
	t.set = kube.NewApplySet(r.App, r.Namespace)
	t.set.Label(objects)
	manifests := copies(objects)
	changes, err := t.survey(ctx, objects)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString(unified(changes, manifests))
	if !r.NoPrune {
		for _, o := range t.live.Prunable(slices.Concat(objects, t.hookObjects)) {
			if r.guard(o) == nil {
				out.WriteString(diff.Unified(plan.RefOf(o).Long(), o, nil, nil))
			}
		}
	}
	if len(t.hookObjects) > 0 {
		if t.revisions, err = c.kube.History(ctx, r.App, r.Namespace); err != nil {
			return "", err
		}
	}
	hooks, err := t.changedHooks(ctx)
	if err != nil {
		return "", err
	}
	for _, h := range hooks {
		out.WriteString(diff.Unified(plan.RefOf(h.object).Long(), h.before, h.object, h.object))
	}
	return out.String(), nil
}

// unified returns the diffs of changes whose objects are as the manifests have them, in their order.
func unified(changes []plan.Change, manifests []*unstructured.Unstructured) string {
	var out strings.Builder
	for i, change := range changes {
		title := change.Ref().Long()
		switch {
		case change.Action == plan.Unchanged:
		case change.Live == nil:
			out.WriteString(diff.Unified(title, nil, manifests[i], nil))
		case change.Recreate:
			out.WriteString(diff.Unified(title, change.Live, nil, nil))
			out.WriteString(diff.Unified(title, nil, manifests[i], nil))
		default:
			out.WriteString(diff.Unified(title, change.Live, change.Merged, manifests[i]))
		}
	}
	return out.String()
}

// deploy is a deploy under the app's lock.
func (t *transaction) deploy(ctx context.Context, objects []*unstructured.Unstructured) error {
	r := &t.release
	if held := kube.Latest(t.revisions, kube.RevisionHeld); held != nil {
		return t.undo(ctx, heldError(r.App, held))
	}
	recorded := copies(slices.Concat(objects, t.hookObjects))
	changes, err := t.survey(ctx, objects)
	if err != nil {
		return t.undo(ctx, err)
	}
	if err := t.tryHooks(ctx); err != nil {
		return t.undo(ctx, err)
	}
	t.result.Diff = unified(changes, recorded)
	prune := t.toPrune(ctx, objects)
	hooks, err := t.changedHooks(ctx)
	if err != nil {
		return t.undo(ctx, err)
	}
	if len(prune)+len(hooks) == 0 && t.isUpToDate(changes) {
		recordedSo, err := t.isRecorded(ctx, recorded)
		if err != nil {
			return err
		}
		if recordedSo {
			return t.confirm(ctx, changes)
		}
	}
	if err := t.record(ctx, recorded); err != nil {
		return t.undo(ctx, err)
	}
	if err := t.carryOut(ctx, changes, prune, objects); err != nil {
		return t.fail(ctx, err)
	}
	t.result.Killed = t.killed
	return nil
}

func heldError(app string, held *kube.Revision) error {
	return fmt.Errorf("revision %d of %s is held: finish it with `aksflow resume`, or undo it with `aksflow abort`", held.Number, app)
}

// isUpToDate reports whether the cluster has the objects of the release already.
func (t *transaction) isUpToDate(changes []plan.Change) bool {
	changed := slices.ContainsFunc(changes, func(c plan.Change) bool { return c.Action != plan.Unchanged })
	return !changed && t.result.Revision > 0 && len(t.journal) == 0
}

// isRecorded reports whether the revision that runs according to the records has these objects. After a deploy that was
// killed, or that failed and was left as it is, the cluster may have those of another one.
func (t *transaction) isRecorded(ctx context.Context, objects []*unstructured.Unstructured) (bool, error) {
	if t.revisions[0].Status == kube.RevisionDeployed {
		return true, nil
	}
	now := kube.Latest(t.revisions, kube.RevisionDeployed)
	was, err := t.cluster.kube.ReadObjects(ctx, t.release.App, t.release.Namespace, now)
	return equality.Semantic.DeepEqual(was, objects), err
}

// confirm waits until what the cluster has already is ready.
func (t *transaction) confirm(ctx context.Context, changes []plan.Change) error {
	for _, change := range changes {
		t.keepUnchanged(change)
	}
	report.Info(ctx, "nothing to change: the cluster has revision %d of %s already", t.result.Revision, t.release.App)
	t.before.Unchanged = true
	return watch.Await(ctx, t.cluster.kube, t.AppliedObjects(), t.watchOptions())
}

// carryOut applies, waits, prunes and closes the record.
func (t *transaction) carryOut(ctx context.Context, changes []plan.Change, prune, objects []*unstructured.Unstructured) error {
	if t.set.Cover(objects) {
		if err := t.cluster.kube.WriteApplySet(ctx, t.set); err != nil {
			return err
		}
	}
	if err := t.runHooks(ctx, t.hooks(before)); err != nil {
		return err
	}
	if err := t.rollOut(ctx, changes, 0); err != nil || t.result.Held {
		return err
	}
	if err := t.runHooks(ctx, t.hooks(after)); err != nil {
		return err
	}
	if err := t.prune(ctx, prune, objects); err != nil {
		return err
	}
	return t.succeed(ctx)
}

// rollOut applies the changes as the strategy says, from a stage on, and returns when what was applied runs, or when the
// release is held.
func (t *transaction) rollOut(ctx context.Context, changes []plan.Change, from int) error {
	r := &t.release
	staged, err := rollout.New(ctx, t.cluster.kube, t, rollout.Options{
		Strategy: r.Strategy, Image: r.Image, Live: t.live.Objects, Watch: t.watchOptions(),
	}, changes)
	if err != nil {
		return err
	}
	if staged == nil {
		if err := t.applyAndAwait(ctx, changes); err != nil {
			return err
		}
		if err := t.Verify(ctx); err != nil {
			return err
		}
		return rollout.RunSmoke(ctx, t.cluster.kube, r.Namespace, r.Strategy.Smoke, t.frontService())
	}
	out, err := staged.Run(ctx, from)
	for _, ref := range out.Removed {
		t.recordResult(ref, Removed, "")
	}
	if err != nil || out.Held == "" {
		return err
	}
	return t.hold(ctx, out)
}

// hold records that the release waits to be resumed or aborted.
func (t *transaction) hold(ctx context.Context, out rollout.Outcome) error {
	t.revision.Status, t.revision.Message = kube.RevisionHeld, out.Held
	if err := t.cluster.kube.WriteRevision(ctx, t.release.App, t.release.Namespace, &t.revision, nil); err != nil {
		return err
	}
	t.result.Held, t.result.Revision = true, t.revision.Number
	t.recordResult(out.Deployment, Held, out.Held)
	report.Info(ctx, "revision %d is held: %s. `aksflow resume` goes on with it, `aksflow abort` undoes it", t.revision.Number, out.Held)
	return nil
}

// frontService returns the name of the first Service that selects one of the applied Deployments.
func (t *transaction) frontService() string {
	objects := t.AppliedObjects()
	for _, service := range objects {
		for _, o := range objects {
			if o.GetKind() == plan.DeploymentKind.Kind && traffic.Selects(service, o) {
				return service.GetName()
			}
		}
	}
	return ""
}

// record writes the record of what is about to be deployed.
func (t *transaction) record(ctx context.Context, objects []*unstructured.Unstructured) error {
	r := &t.release
	strategy, err := json.Marshal(r.Strategy)
	if err != nil {
		return err
	}
	t.revision = kube.Revision{
		Number: nextNumber(t.revisions), Status: kube.RevisionPending, User: r.User, Time: time.Now().UTC().Truncate(time.Second),
		Image: r.Image, SourceRevision: r.SourceRevision, RunURL: r.RunURL,
		Namespaces: r.Namespaces, Strategy: strategy,
		Manifests: t.manifests, Upgrade: kube.Latest(t.revisions, kube.RevisionDeployed) != nil,
	}
	return t.cluster.kube.WriteRevision(ctx, r.App, r.Namespace, &t.revision, objects)
}

// succeed closes the record of this revision and of the one before.
func (t *transaction) succeed(ctx context.Context) error {
	c, r := t.cluster.kube, &t.release
	// First this one: a process that is killed in between leaves two that are deployed, and the newest counts.
	t.revision.Status, t.revision.Message = kube.RevisionDeployed, r.Note
	if err := c.WriteRevision(ctx, r.App, r.Namespace, &t.revision, nil); err != nil {
		return err
	}
	for i := range t.revisions {
		old := &t.revisions[i]
		if old.Status != kube.RevisionDeployed {
			continue
		}
		old.Status = kube.RevisionSuperseded
		if err := c.WriteRevision(ctx, r.App, r.Namespace, old, nil); err != nil {
			return err
		}
	}
	t.result.Revision = t.revision.Number
	if err := c.TrimHistory(ctx, r.App, r.Namespace, append([]kube.Revision{t.revision}, t.revisions...), r.History); err != nil {
		report.Warn(ctx, "old revisions could not be removed: %v", err)
	}
	return nil
}

func copies(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		out[i] = o.DeepCopy()
	}
	return out
}
