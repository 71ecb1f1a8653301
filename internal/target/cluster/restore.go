package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

const (
	// restoreLimit is how long putting back may take, with an outage of the API server in the middle of it.
	restoreLimit = kube.OutageLimit + 2*time.Minute
	// readyAgainLimit is how long the previous revision may take to be ready again.
	readyAgainLimit = 90 * time.Second
)

// fail ends a deploy that did not work: it puts back what was there, unless the user wants to look at the failure, and
// closes the record.
func (t *transaction) fail(ctx context.Context, err error) error {
	r := &t.release
	if errors.Is(err, kube.ErrLockLost) {
		return err // another deploy decides now
	}
	t.revision.Status, t.revision.Message = kube.RevisionFailed, err.Error()
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreLimit)
	defer cancel()
	if r.NoRollback {
		t.revision.Left = true
		back := "aksflow rollback"
		if t.result.Revision == 0 {
			back = "there is no earlier revision; `kubectl delete` what you do not want to keep"
		}
		report.Warn(after, "left as it is for debugging; to return to what was there before: %s", back)
	} else if failed := t.restoreOrReturn(after); failed != nil {
		t.revision.Left = true
		err = errors.Join(err, failed)
	}
	if failed := t.cluster.kube.WriteRevision(after, r.App, r.Namespace, &t.revision, nil); failed != nil && !t.removedNamespace() {
		err = errors.Join(err, failed)
	}
	return err
}

// restoreOrReturn puts back what was there before. What a killed deploy left is not that: then it is what the revision
// says that was deployed last.
func (t *transaction) restoreOrReturn(ctx context.Context) error {
	deployed := kube.Latest(t.revisions, kube.RevisionDeployed)
	if t.killed == 0 || deployed == nil {
		err := t.restore(ctx)
		if t.killed != 0 {
			report.Warn(ctx, "what the killed deploy of revision %d left is still there, since no earlier one was deployed: `aksflow uninstall` deletes it", t.killed)
		}
		return err
	}
	report.Info(ctx, "putting back revision %d", deployed.Number)
	if err := t.returnTo(ctx, deployed); err != nil {
		return fmt.Errorf("not everything of revision %d could be put back: %w", deployed.Number, err)
	}
	t.result.RolledBack = true
	return nil
}

// returnTo makes the cluster what a recorded revision says, and removes what this deploy has created beside it.
func (t *transaction) returnTo(ctx context.Context, revision *kube.Revision) error {
	objects, err := t.cluster.kube.ReadObjects(ctx, t.release.App, t.release.Namespace, revision)
	if err != nil {
		return err
	}
	app := App{Name: t.release.App, Namespace: t.release.Namespace, User: t.release.User, RunURL: t.release.RunURL, Rules: t.release.Rules}
	back := t.cluster.begin(app.release(revision, objects))
	if objects, err = t.cluster.normalize(ctx, &back.release); err != nil {
		return err
	}
	objects, back.hookObjects = separate(objects)
	back.set, back.objects = kube.NewApplySet(app.Name, app.Namespace), objects
	back.set.Label(objects)
	if err := back.mark(ctx); err != nil {
		return err
	}
	if err := back.abort(ctx, objects); err != nil {
		return err
	}
	created, _ := partition(t.journal, func(e entry) bool { return e.before == nil && back.Applied(e.ref) == nil })
	for _, result := range back.order {
		switch back.results[result].Status {
		case Unchanged:
		case Pruned, Removed:
			t.recordResult(result, Removed, "")
		default:
			t.recordResult(result, Restored, "")
		}
	}
	return errors.Join(t.inStages(ctx, created, t.removeOne)...)
}

// removedNamespace reports whether the namespace with the records is being deleted, since this deploy had created it.
func (t *transaction) removedNamespace() bool {
	return slices.ContainsFunc(t.journal, func(e entry) bool {
		return e.before == nil && e.ref.Kind == "Namespace" && e.ref.Name == t.release.Namespace
	})
}

// restore undoes everything in the journal: first it puts back what was there before, in the order of a deploy, then it
// removes what was created, in the opposite order. A canary behind a Gateway is an exception: see restoreRoutes. It
// continues after errors, and returns them.
func (t *transaction) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreLimit)
	defer cancel()
	created, changed := partition(t.journal, func(e entry) bool { return e.before == nil })
	if len(changed)+len(created) == 0 {
		return nil
	}
	report.Info(ctx, "putting back what was there before")
	failed, err := t.cluster.kube.Reread(ctx, t.AppliedObjects())
	if err == nil {
		err = t.mark(ctx, failed...)
	}
	if err != nil {
		report.Warn(ctx, "%v", err)
	}
	byStage := func(a, b entry) int {
		return cmp.Compare(plan.StageOf(a.ref.GroupKind()), plan.StageOf(b.ref.GroupKind()))
	}
	changed, created, errs := t.restoreRoutes(ctx, changed, created)
	slices.SortStableFunc(changed, byStage)
	slices.SortStableFunc(created, func(a, b entry) int { return byStage(b, a) })
	errs = append(errs, t.inStages(ctx, changed, t.putBackOne)...)
	errs = append(errs, t.inStages(ctx, created, t.removeOne)...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not everything could be put back: %w", err)
	}
	t.result.RolledBack = true
	return t.awaitRestored(ctx, changed)
}

// restoreRoutes ends a canary that gets its requests by the weights of routes: the routes are put back first, and its
// pods are removed next, before a Service is put back that selects them too. It returns what is left to do.
func (t *transaction) restoreRoutes(ctx context.Context, changed, created []entry) (toPutBack, toRemove []entry, errs []error) {
	routes, toPutBack := partition(changed, func(e entry) bool { return traffic.IsRoute(e.object) })
	canaries, toRemove := partition(created, func(e entry) bool {
		return e.ref.GroupKind() == plan.DeploymentKind && e.object.GetLabels()[traffic.Label] == string(traffic.Canary)
	})
	if len(routes) == 0 || len(canaries) == 0 {
		return changed, created, nil
	}
	var before []*unstructured.Unstructured
	for _, e := range routes {
		errs = append(errs, t.putBackOne(ctx, e))
		before = append(before, e.before)
	}
	rollout.Drain(ctx, t.cluster.kube, t.watchOptions(), before)
	for _, e := range canaries {
		// Its pods must be gone before a Service may select them. If they take too long it is removed with the rest.
		wait, cancel := context.WithTimeout(ctx, rollout.GatewayAckTimeout)
		err := t.cluster.removeCreated(wait, e.object, true)
		cancel()
		if err != nil {
			toRemove = append(toRemove, e)
			continue
		}
		t.recordResult(e.ref, Removed, "")
	}
	return toPutBack, toRemove, errs
}

// partition returns the elements for which pred is true, then the rest.
func partition[T any](list []T, pred func(T) bool) (yes, no []T) {
	for _, e := range list {
		if pred(e) {
			yes = append(yes, e)
		} else {
			no = append(no, e)
		}
	}
	return yes, no
}

func (t *transaction) putBackOne(ctx context.Context, e entry) error {
	name := e.ref.In(t.release.Namespace)
	if e.ref.GroupKind() == plan.JobKind {
		// Putting a Job back would run it once more.
		report.Warn(ctx, "what %s did is not undone", name)
		return nil
	}
	err := t.afterWebhook(ctx, name, func() error { return t.cluster.kube.PutBack(ctx, e.before, e.autoscaled) })
	if err != nil {
		t.recordResult(e.ref, Failed, "not put back: "+err.Error())
		return kube.Explain("putting back "+name, err)
	}
	t.recordResult(e.ref, Restored, "")
	return nil
}

func (t *transaction) removeOne(ctx context.Context, e entry) error {
	name := e.ref.In(t.release.Namespace)
	if e.ref.GroupKind() == plan.JobKind {
		report.Warn(ctx, "what %s did is not undone", name)
	}
	if err := t.cluster.removeCreated(ctx, e.object, false); err != nil {
		t.recordResult(e.ref, Failed, "not removed: "+err.Error())
		return kube.Explain("removing "+name, err)
	}
	t.recordResult(e.ref, Removed, "")
	return nil
}

// inStages calls do for each entry, those of one stage in parallel.
func (t *transaction) inStages(ctx context.Context, entries []entry, do func(context.Context, entry) error) []error {
	var errs []error
	same := func(a, b entry) bool { return plan.StageOf(a.ref.GroupKind()) == plan.StageOf(b.ref.GroupKind()) }
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && same(entries[0], entries[n]) {
			n++
		}
		results := make([]error, n)
		var group errgroup.Group
		group.SetLimit(kube.Parallel)
		for i, e := range entries[:n] {
			group.Go(func() error { results[i] = do(ctx, e); return nil })
		}
		_ = group.Wait()
		errs = append(errs, results...)
		entries = entries[n:]
	}
	return errs
}

// removeCreated deletes an object that this deploy had created. Its uid is not known when the answer was lost, so it is
// read first. With wait it returns when its pods are gone too.
func (c *Cluster) removeCreated(ctx context.Context, o *unstructured.Unstructured, wait bool) error {
	now, err := c.kube.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
	if kube.IsMissing(err) {
		return nil // its kind was not created either
	}
	if err != nil || now == nil {
		return err
	}
	return c.kube.Remove(ctx, now, wait)
}

// awaitRestored waits until what was ready before is ready again, and removes what the failed rollout left behind.
func (t *transaction) awaitRestored(ctx context.Context, changed []entry) error {
	c := t.cluster.kube
	var ready []*unstructured.Unstructured
	for _, e := range changed {
		if stage := plan.StageOf(e.ref.GroupKind()); stage != plan.Workloads && stage != plan.Data {
			continue
		}
		if err := c.ReplaceStuckPods(ctx, e.before); err != nil {
			report.Warn(ctx, "%v", kube.Explain("a pod of the failed revision of "+e.ref.In(t.release.Namespace), err))
		}
		if status.Of(e.before, &status.World{}).Ready {
			ready = append(ready, e.before)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	wait, cancel := context.WithTimeoutCause(ctx, readyAgainLimit, fmt.Errorf("%s passed", report.Span(readyAgainLimit)))
	defer cancel()
	current, err := c.Reread(ctx, ready)
	if err == nil {
		err = watch.Await(wait, c, current, t.watchOptions())
	}
	if err != nil {
		return fmt.Errorf("the previous revision is back, and is not ready again: %w", err)
	}
	for _, e := range changed {
		if e.replicaSets == nil {
			continue
		}
		if err := c.ForgetRollout(ctx, e.before, e.replicaSets); err != nil {
			report.Warn(ctx, "%v", kube.Explain("the rollout history of "+e.ref.In(t.release.Namespace), err))
		}
	}
	return nil
}
