package cluster

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// Uninstall deletes what an app has in the cluster, the last applied first, and its records, and returns when it is gone.
// The same objects as in a deploy stay unless the app's Rules name them; the ApplySet then stays too, so that a later
// call can delete them. An app that has nothing is not an error.
func (c *Cluster) Uninstall(ctx context.Context, app App) (*Result, error) {
	app.NoPrune = false
	t := c.begin(Release{App: app.Name, Namespace: app.Namespace, User: app.User, RunURL: app.RunURL, Rules: app.Rules})
	err := t.uninstall(ctx)
	return t.outcome(err), err
}

func (t *transaction) uninstall(ctx context.Context) error {
	c, r := t.cluster.kube, &t.release
	nothing := func() error {
		report.Info(ctx, "%s has nothing in the namespace %s", r.App, r.Namespace)
		return nil
	}
	namespace, err := c.Get(ctx, plan.NamespaceKind.WithVersion("v1"), "", r.Namespace)
	if err != nil || namespace == nil {
		return errors.Join(kube.Explain("Namespace/"+r.Namespace, err), nothing())
	}
	locked, unlock, err := c.Lock(ctx, r.App, r.Namespace, r.User)
	if err != nil {
		return err
	}
	defer func() {
		unlock()
		if err := c.DeleteLock(context.WithoutCancel(ctx), r.App, r.Namespace); err != nil {
			report.Warn(ctx, "%v", err)
		}
	}()
	if t.revisions, err = c.History(locked, r.App, r.Namespace); err != nil {
		return err
	}
	t.set = kube.NewApplySet(r.App, r.Namespace)
	if err := c.ReadApplySet(locked, t.set); err != nil {
		return err
	}
	if t.live, err = c.ReadLive(locked, nil, t.set); err != nil {
		return err
	}
	if len(t.live.Members) == 0 && len(t.revisions) == 0 {
		return nothing()
	}
	gone := t.toPrune(locked, nil)
	if err := t.prune(locked, gone, nil); err != nil {
		return err
	}
	if err := t.awaitGone(locked, gone); err != nil {
		return err
	}
	if len(gone) == len(t.live.Members) && len(t.live.Unlisted) == 0 {
		if err := c.DeleteApplySet(locked, t.set); err != nil {
			return err
		}
	}
	return c.TrimHistory(locked, r.App, r.Namespace, t.revisions, kube.KeepNone)
}

// awaitGone returns when objects are gone that are being deleted.
func (t *transaction) awaitGone(ctx context.Context, objects []*unstructured.Unstructured) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(kube.Parallel)
	for _, o := range objects {
		group.Go(func() error {
			ref := plan.RefOf(o)
			if ref.GroupKind() == plan.NamespaceKind && ref.Name == t.release.Namespace {
				return nil // the records are in it, and the lock
			}
			return kube.Explain(ref.In(t.release.Namespace), t.cluster.kube.AwaitGone(ctx, o))
		})
	}
	return group.Wait()
}
