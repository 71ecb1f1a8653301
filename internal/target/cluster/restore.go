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
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/target/cluster/traffic"
)

const (
	// restoring is how long putting back may take, with an API server that is away in the middle of it.
	restoring = patience + 2*time.Minute
	// settling is how long the previous revision may take to be ready again.
	settling = 90 * time.Second
)

// fail ends a deploy that did not work: it puts back what was there, unless the user wants to look at the failure, and
// closes the record.
func (d *delivery) fail(ctx context.Context, err error) error {
	c, r := d.cluster, &d.release
	if errors.Is(err, errLeaseLost) {
		return err // it is another deploy's affair now
	}
	d.revision.Status, d.revision.Message = RevisionFailed, err.Error()
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoring)
	defer cancel()
	if r.NoRollback {
		back := "aksflow rollback"
		if d.result.Revision == 0 {
			back = "there is no earlier revision; `kubectl delete` what you do not want to keep"
		}
		report.Warn(after, "left as it is for debugging; to return to what was there before: %s", back)
	} else if failed := d.restore(after); failed != nil {
		err = errors.Join(err, failed)
	}
	if failed := c.writeRevision(after, r.App, r.Namespace, &d.revision, nil); failed != nil && !d.removedNamespace() {
		err = errors.Join(err, failed)
	}
	return err
}

// removedNamespace says that the namespace with the records is being deleted, since this deploy had made it.
func (d *delivery) removedNamespace() bool {
	return slices.ContainsFunc(d.journal, func(ch change) bool {
		return ch.before == nil && ch.ref.Kind == "Namespace" && ch.ref.Name == d.release.Namespace
	})
}

// restore puts back everything that the journal holds: first what was there before, in the order of a deploy, then it
// removes what was not, in the opposite order, but for a canary behind a Gateway. It goes on over errors, and returns them.
func (d *delivery) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoring)
	defer cancel()
	began := time.Now()

	created, changed := split(d.journal, func(ch change) bool { return ch.before == nil })
	if len(changed)+len(created) == 0 {
		return nil
	}
	report.Info(ctx, "putting back what was there before")
	byStage := func(a, b change) int {
		return cmp.Compare(plan.StageOf(a.ref.GroupKind()), plan.StageOf(b.ref.GroupKind()))
	}
	changed, created, errs := d.restoreRoutes(ctx, changed, created)
	slices.SortStableFunc(changed, byStage)
	slices.SortStableFunc(created, func(a, b change) int { return byStage(b, a) })
	errs = append(errs, d.inStages(ctx, changed, d.putBackOne)...)
	errs = append(errs, d.inStages(ctx, created, d.removeOne)...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not everything could be put back: %w", err)
	}
	d.result.RolledBack = true
	return d.settleDown(ctx, changed, began)
}

// restoreRoutes ends a canary that gets its requests by the weights of routes: they are put back first, and its pods go
// next, before a Service is put back that selects them too. It returns what is left to do.
func (d *delivery) restoreRoutes(ctx context.Context, changed, created []change) (toPutBack, toRemove []change, errs []error) {
	routes, toPutBack := split(changed, func(ch change) bool { return traffic.IsRoute(ch.object) })
	canaries, toRemove := split(created, func(ch change) bool {
		return ch.ref.GroupKind() == deploymentKind && ch.object.GetLabels()[traffic.Label] == string(traffic.Canary)
	})
	if len(routes) == 0 || len(canaries) == 0 {
		return changed, created, nil
	}
	var before []*unstructured.Unstructured
	for _, ch := range routes {
		errs = append(errs, d.putBackOne(ctx, ch))
		before = append(before, ch.before)
	}
	d.drain(ctx, before)
	for _, ch := range canaries {
		// Its pods must be gone before a Service may select them. When they take too long it is removed with the rest.
		wait, cancel := context.WithTimeout(ctx, answering)
		err := d.cluster.removeCreated(wait, ch.object, true)
		cancel()
		if err != nil {
			toRemove = append(toRemove, ch)
			continue
		}
		d.note(ch.ref, Removed, "")
	}
	return toPutBack, toRemove, errs
}

// split parts the changes that are so from the others.
func split(changes []change, is func(change) bool) (those, others []change) {
	for _, ch := range changes {
		if is(ch) {
			those = append(those, ch)
		} else {
			others = append(others, ch)
		}
	}
	return those, others
}

func (d *delivery) putBackOne(ctx context.Context, ch change) error {
	if ch.ref.GroupKind() == jobKind {
		// Putting a Job back would run it once more.
		report.Warn(ctx, "what %s did is not undone", ch.ref.In(d.release.Namespace))
		return nil
	}
	if err := d.cluster.putBack(ctx, ch.before, ch.autoscaled); err != nil {
		d.note(ch.ref, Failed, "not put back: "+err.Error())
		return explain("putting back "+ch.ref.In(d.release.Namespace), err)
	}
	d.note(ch.ref, Restored, "")
	return nil
}

func (d *delivery) removeOne(ctx context.Context, ch change) error {
	if ch.ref.GroupKind() == jobKind {
		report.Warn(ctx, "what %s did is not undone", ch.ref.In(d.release.Namespace))
	}
	if err := d.cluster.removeCreated(ctx, ch.object, false); err != nil {
		d.note(ch.ref, Failed, "not removed: "+err.Error())
		return explain("removing "+ch.ref.In(d.release.Namespace), err)
	}
	d.note(ch.ref, Removed, "")
	return nil
}

// inStages calls do for each change, those of one stage side by side.
func (d *delivery) inStages(ctx context.Context, changes []change, do func(context.Context, change) error) []error {
	var errs []error
	same := func(a, b change) bool { return plan.StageOf(a.ref.GroupKind()) == plan.StageOf(b.ref.GroupKind()) }
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && same(changes[0], changes[n]) {
			n++
		}
		results := make([]error, n)
		var group errgroup.Group
		group.SetLimit(parallel)
		for i, ch := range changes[:n] {
			group.Go(func() error { results[i] = do(ctx, ch); return nil })
		}
		_ = group.Wait()
		errs = append(errs, results...)
		changes = changes[n:]
	}
	return errs
}

// removeCreated deletes an object that this deploy had created. Its uid is not known when the answer was lost, so it is
// looked up. With wait it returns when its pods are gone too.
func (c *Cluster) removeCreated(ctx context.Context, o *unstructured.Unstructured, wait bool) error {
	client, err := c.resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return nil //nolint:nilerr // its kind was not created either
	}
	now, err := c.get(ctx, client, o.GetName())
	if err != nil || now == nil {
		return err
	}
	return c.remove(ctx, now, wait)
}

// settleDown waits until what was ready before is ready again, and removes what the failed rollout left behind.
func (d *delivery) settleDown(ctx context.Context, changed []change, began time.Time) error {
	var ready []*unstructured.Unstructured
	for _, ch := range changed {
		kind := ch.ref.GroupKind()
		if plan.StageOf(kind) != plan.Workloads && plan.StageOf(kind) != plan.Data {
			continue
		}
		if err := d.cluster.replaceStuckPods(ctx, ch.before); err != nil {
			report.Warn(ctx, "%v", explain("a pod of the failed revision of "+ch.ref.In(d.release.Namespace), err))
		}
		if status.Of(ch.before, &status.World{}).Ready {
			ready = append(ready, ch.before)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	wait, cancel := context.WithTimeoutCause(ctx, settling, fmt.Errorf("%s passed", settling))
	defer cancel()
	current, err := d.cluster.current(ctx, ready)
	if err == nil {
		err = d.cluster.await(wait, &d.release, current, began)
	}
	if err != nil {
		return fmt.Errorf("the previous revision is back, and is not ready again: %w", err)
	}
	for _, ch := range changed {
		if err := d.cluster.forgetRollout(ctx, ch); err != nil {
			report.Warn(ctx, "%v", explain("the rollout history of "+ch.ref.In(d.release.Namespace), err))
		}
	}
	return nil
}

// current reads objects anew.
func (c *Cluster) current(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		client, err := c.resource(ctx, o.GroupVersionKind(), o.GetNamespace())
		if err != nil {
			return nil, err
		}
		now, err := c.get(ctx, client, o.GetName())
		if err != nil {
			return nil, explain(plan.RefOf(o).Long(), err)
		}
		if now != nil {
			out = append(out, now)
		}
	}
	return out, nil
}
