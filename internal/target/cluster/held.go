package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout"
	"github.com/aksflow/aksflow/internal/target/cluster/rollout/traffic"
)

// Resume finishes a canary or blue-green release that is held. If that fails the release is held again.
func (c *Cluster) Resume(ctx context.Context, app App) (*Result, error) {
	t, held, err := c.held(ctx, app)
	if err != nil {
		return &Result{}, err
	}
	if len(held.Strategy) > 0 {
		if err := json.Unmarshal(held.Strategy, &t.release.Strategy); err != nil {
			return &Result{}, fmt.Errorf("the record of revision %d of %s is broken: %w", held.Number, app.Name, err)
		}
	}
	t.release.Strategy.Hold = false
	err = t.exclusively(ctx, func(ctx context.Context, objects []*unstructured.Unstructured) error {
		if err := t.stillHeld(held); err != nil {
			return err
		}
		t.revision = *held
		if err := t.resume(ctx, objects); err != nil {
			if failed := t.restore(ctx); failed != nil {
				return fmt.Errorf("%w; and %w", err, failed)
			}
			t.result.Held, t.result.Revision = true, held.Number
			return fmt.Errorf("not finished, and held as before: %w", err)
		}
		return t.succeed(ctx)
	})
	return t.outcome(err), err
}

// resume goes through the stages after the one that held.
func (t *transaction) resume(ctx context.Context, objects []*unstructured.Unstructured) error {
	changes, err := t.survey(ctx, objects)
	if err != nil {
		return err
	}
	prune := t.toPrune(ctx, objects)
	if err := t.rollOut(ctx, changes, 1); err != nil {
		return err
	}
	if err := t.runHooks(ctx, t.hooks(after)); err != nil {
		return err
	}
	return t.prune(ctx, prune, objects)
}

// Abort undoes a canary or blue-green release that is held: the new version's pods are removed first, then everything
// becomes what the revision before says.
func (c *Cluster) Abort(ctx context.Context, app App) (*Result, error) {
	t, held, err := c.held(ctx, app)
	if err != nil {
		return &Result{}, err
	}
	now := kube.Latest(t.revisions, kube.RevisionDeployed)
	if now == nil {
		return &Result{}, fmt.Errorf("%s in %s has no revision to go back to: finish it with `aksflow resume`", app.Name, app.Namespace)
	}
	if t.release.Objects, err = c.kube.ReadObjects(ctx, app.Name, app.Namespace, now); err != nil {
		return &Result{}, err
	}
	t.release.Image = now.Image
	err = t.exclusively(ctx, func(ctx context.Context, objects []*unstructured.Unstructured) error {
		if err := t.stillHeld(held); err != nil {
			return err
		}
		if err := t.abort(ctx, objects); err != nil {
			return err
		}
		held.Status, held.Message = kube.RevisionFailed, "aborted by "+t.release.User
		return c.kube.WriteRevision(ctx, app.Name, app.Namespace, held, nil)
	})
	return t.outcome(err), err
}

// abort makes the cluster what objects, those of the revision before, say.
func (t *transaction) abort(ctx context.Context, objects []*unstructured.Unstructured) error {
	changes, err := t.survey(ctx, objects)
	if err != nil {
		return err
	}
	var routes []plan.Change
	for _, change := range changes {
		if traffic.IsRoute(change.Object) && change.Action != plan.Unchanged {
			routes = append(routes, change)
		}
	}
	// No request may be on its way to the new version's pods when they are removed.
	if err := t.Apply(ctx, routes); err != nil {
		return err
	}
	rollout.Drain(ctx, t.cluster.kube, t.watchOptions(), plan.Objects(routes))
	for ref, o := range t.live.Objects {
		if o.GetLabels()[traffic.Label] == "" || !t.live.Members[ref] || ref.GroupKind() != plan.DeploymentKind {
			continue
		}
		// Its pods must be gone before a Service may select them.
		if err := t.cluster.kube.Remove(ctx, o, true); err != nil {
			return kube.Explain("removing "+ref.In(t.release.Namespace), err)
		}
		t.recordResult(ref, Removed, "")
	}
	if err := t.Apply(ctx, changes); err != nil {
		return err
	}
	if err := t.prune(ctx, t.toPrune(ctx, objects), objects); err != nil {
		return err
	}
	return watch.Await(ctx, t.cluster.kube, t.AppliedObjects(), t.watchOptions())
}

// held finds the revision that waits to be resumed or aborted.
func (c *Cluster) held(ctx context.Context, app App) (*transaction, *kube.Revision, error) {
	revisions, err := c.kube.History(ctx, app.Name, app.Namespace)
	if err != nil {
		return nil, nil, err
	}
	held := kube.Latest(revisions, kube.RevisionHeld)
	if held == nil {
		return nil, nil, fmt.Errorf("no revision of %s in %s is held: its revisions are %s", app.Name, app.Namespace, numbers(revisions))
	}
	objects, err := c.kube.ReadObjects(ctx, app.Name, app.Namespace, held)
	if err != nil {
		return nil, nil, err
	}
	t := c.begin(app.release(held, objects))
	t.revisions = revisions
	return t, held, nil
}

// stillHeld checks, under the lock, that nobody else has resumed or aborted the revision in the meantime.
func (t *transaction) stillHeld(revision *kube.Revision) error {
	if now := kube.Latest(t.revisions, kube.RevisionHeld); now == nil || now.Number != revision.Number {
		return fmt.Errorf("somebody else has resumed or aborted revision %d of %s by now: its revisions are %s", revision.Number, t.release.App, numbers(t.revisions))
	}
	return nil
}
