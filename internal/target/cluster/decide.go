package cluster

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/target/cluster/traffic"
)

// Delivery names what was deployed, for going on with it or back from it.
type Delivery struct {
	App, Namespace string
	// User and RunURL are written to the record, as for a Release.
	User, RunURL string
	// Grace is as for a Release.
	Grace time.Duration
}

// Rollback deploys the objects of an earlier revision as a new one. to is its number; 0 means the one that ran before
// the one that runs now, or, after a deploy that failed and was left as it is, the one that should be running.
func (c *Cluster) Rollback(ctx context.Context, of Delivery, to int) (*Result, error) {
	revisions, err := c.History(ctx, of.App, of.Namespace)
	if err != nil {
		return &Result{}, err
	}
	target, err := rollbackTarget(of, revisions, to)
	if err != nil {
		return &Result{}, err
	}
	objects, err := c.readObjects(ctx, of.App, of.Namespace, target)
	if err != nil {
		return &Result{}, err
	}
	report.Info(ctx, "going back to revision %d of %s, of %s", target.Number, of.App, target.Time.Format(time.DateTime))
	return c.Deploy(ctx, target.release(of, objects))
}

func rollbackTarget(of Delivery, revisions []Revision, to int) (*Revision, error) {
	if to != 0 {
		for i := range revisions {
			if revisions[i].Number == to {
				return &revisions[i], nil
			}
		}
		return nil, fault.Usagef("%s in %s has no revision %d; it has %s", of.App, of.Namespace, to, numbers(revisions))
	}
	if len(revisions) > 0 && (revisions[0].Status == RevisionFailed || revisions[0].Status == RevisionPending) {
		if now := latest(revisions, RevisionDeployed); now != nil {
			return now, nil
		}
	}
	if before := latest(revisions, RevisionSuperseded); before != nil {
		return before, nil
	}
	return nil, fmt.Errorf("%s in %s has no earlier revision to go back to; it has %s", of.App, of.Namespace, numbers(revisions))
}

func numbers(revisions []Revision) string {
	if len(revisions) == 0 {
		return "none"
	}
	text := ""
	for i, r := range revisions {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d (%s)", r.Number, r.Status)
	}
	return text
}

// release is what it takes to deploy a recorded revision.
func (r *Revision) release(of Delivery, objects []*unstructured.Unstructured) Release {
	return Release{
		App: of.App, Namespace: of.Namespace, Namespaces: r.Namespaces, Objects: objects,
		Image: r.Image, SourceRevision: r.SourceRevision, User: of.User, RunURL: of.RunURL, Grace: of.Grace,
	}
}

// Promote finishes a canary or blue-green release that is held. When that fails the release is held again.
func (c *Cluster) Promote(ctx context.Context, of Delivery) (*Result, error) {
	d, held, err := c.held(ctx, of)
	if err != nil {
		return &Result{}, err
	}
	// The strategy goes on after the stage that held.
	d.release.Strategy = held.Strategy
	d.release.Strategy.Hold = false
	err = d.exclusively(ctx, func(ctx context.Context, objects []*unstructured.Unstructured) error {
		if err := d.stillHeld(held); err != nil {
			return err
		}
		d.revision = *held
		steps, err := d.survey(ctx, objects)
		if err != nil {
			return err
		}
		prune := d.toPrune(ctx, objects)
		p, err := d.progressive(ctx, steps, time.Now())
		if err != nil {
			return err
		}
		if p == nil {
			err = d.applyAndAwait(ctx, steps, time.Now())
		} else {
			err = p.run(ctx, 1)
		}
		if err == nil {
			err = d.prune(ctx, prune, objects)
		}
		if err != nil {
			if failed := d.restore(ctx); failed != nil {
				return fmt.Errorf("%w; and %w", err, failed)
			}
			return fmt.Errorf("not promoted, and held as before: %w", err)
		}
		return d.succeed(ctx)
	})
	return d.outcome(), err
}

// Reject undoes a canary or blue-green release that is held: the new version's pods go first, then everything is what
// the revision before says.
func (c *Cluster) Reject(ctx context.Context, of Delivery) (*Result, error) {
	d, held, err := c.held(ctx, of)
	if err != nil {
		return &Result{}, err
	}
	now := latest(d.revisions, RevisionDeployed)
	if now == nil {
		return &Result{}, fmt.Errorf("%s in %s has no revision to go back to: promote it, or deploy another", of.App, of.Namespace)
	}
	if d.release.Objects, err = c.readObjects(ctx, of.App, of.Namespace, now); err != nil {
		return &Result{}, err
	}
	d.release.Image = now.Image
	err = d.exclusively(ctx, func(ctx context.Context, objects []*unstructured.Unstructured) error {
		if err := d.stillHeld(held); err != nil {
			return err
		}
		steps, err := d.survey(ctx, objects)
		if err != nil {
			return err
		}
		began := time.Now()
		var routes []step
		for _, s := range steps {
			if traffic.IsRoute(s.object) && s.status != Unchanged {
				routes = append(routes, s)
			}
		}
		// No request may be on its way to the new version's pods when they go.
		if err := d.apply(ctx, routes); err != nil {
			return err
		}
		d.drain(ctx, objectsOf(routes))
		for ref, o := range d.live.objects {
			if o.GetLabels()[traffic.Label] == "" || !d.live.members[ref] || ref.GroupKind() != deploymentKind {
				continue
			}
			// Its pods must be gone before a Service may select them.
			if err := c.remove(ctx, o, true); err != nil {
				return explain("removing "+ref.In(of.Namespace), err)
			}
			d.note(ref, Removed, "")
		}
		if err := d.apply(ctx, steps); err != nil {
			return err
		}
		gone := d.toPrune(ctx, objects)
		if err := d.prune(ctx, gone, objects); err != nil {
			return err
		}
		if err := c.await(ctx, &d.release, d.appliedObjects(), began); err != nil {
			return err
		}
		held.Status, held.Message = RevisionFailed, "rejected by "+d.release.User
		return c.writeRevision(ctx, of.App, of.Namespace, held, nil)
	})
	return d.outcome(), err
}

// held finds the revision that waits for a decision.
func (c *Cluster) held(ctx context.Context, of Delivery) (*delivery, *Revision, error) {
	revisions, err := c.History(ctx, of.App, of.Namespace)
	if err != nil {
		return nil, nil, err
	}
	held := latest(revisions, RevisionHeld)
	if held == nil {
		return nil, nil, fmt.Errorf("nothing of %s in %s waits for a decision: its revisions are %s", of.App, of.Namespace, numbers(revisions))
	}
	objects, err := c.readObjects(ctx, of.App, of.Namespace, held)
	if err != nil {
		return nil, nil, err
	}
	d := c.delivery(held.release(of, objects))
	d.revisions = revisions
	return d, held, nil
}

// stillHeld looks, under the Lease, whether somebody else decided in the meantime.
func (d *delivery) stillHeld(revision *Revision) error {
	if now := latest(d.revisions, RevisionHeld); now == nil || now.Number != revision.Number {
		return fmt.Errorf("somebody else has decided about revision %d of %s by now: its revisions are %s", revision.Number, d.release.App, numbers(d.revisions))
	}
	return nil
}

// survey reads what the cluster has and finds out what to do to each object.
func (d *delivery) survey(ctx context.Context, objects []*unstructured.Unstructured) ([]step, error) {
	err := d.cluster.readApplySet(ctx, d.set)
	if err != nil {
		return nil, err
	}
	if d.live, err = d.cluster.readLive(ctx, objects, d.set); err != nil {
		return nil, err
	}
	return d.cluster.prepare(ctx, &d.release, objects, d.live)
}
