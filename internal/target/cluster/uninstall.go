package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/render"
)

// Uninstall deletes what an app has in the cluster, the last applied first, and its records, and returns when it is gone.
// The hooks of the revision that runs are run, those before it deletes and those after it; when one before fails, nothing is
// deleted.
// The same objects as in a deploy stay unless the app's Rules name them; the ApplySet then stays too, so that a later
// call can delete them. An app that has nothing is not an error.
func (c *Cluster) Uninstall(ctx context.Context, app App) (*Result, error) {
	app.NoPrune = false
	t := c.begin(Release{App: app.Name, Namespace: app.Namespace, User: app.User, RunURL: app.RunURL, Rules: app.Rules})
	t.uninstalls = true
	err := t.uninstall(ctx, app.NoHooks)
	return t.outcome(err), err
}

// noHooks is the remedy for a hook that keeps an app from being uninstalled.
const noHooks = "--no-hooks uninstalls without its hooks"

func (t *transaction) uninstall(ctx context.Context, skipHooks bool) error {
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
	if err := t.readHooks(locked); err != nil {
		return err
	}
	gone := t.toPrune(locked, nil)
	if err := t.remove(locked, gone, skipHooks); err != nil {
		return err
	}
	if left, err := t.leftHooks(locked); err != nil {
		return err
	} else if len(left) > 0 {
		report.Info(ctx, "hooks are not deleted unless their hook-delete-policy says so, as in Helm; these are left: %s", strings.Join(left, ", "))
	}
	if len(gone) == len(t.live.Members) && len(t.live.Unlisted) == 0 {
		if err := c.DeleteApplySet(locked, t.set); err != nil {
			return err
		}
	}
	return c.TrimHistory(locked, r.App, r.Namespace, t.revisions, kube.KeepNone)
}

// readHooks reads the hooks of the revision that runs, or of the newest one when none does.
func (t *transaction) readHooks(ctx context.Context) error {
	if len(t.revisions) == 0 {
		return nil
	}
	of := kube.Latest(t.revisions, kube.RevisionDeployed)
	if of == nil {
		of = &t.revisions[0]
	}
	objects, err := t.cluster.kube.ReadObjects(ctx, t.release.App, t.release.Namespace, of)
	if err != nil {
		return err
	}
	_, t.hookObjects = separate(objects)
	if t.release.Image == "" {
		t.release.Image, t.release.SourceRevision = of.Image, of.SourceRevision
	}
	return t.mark(ctx)
}

// remove deletes objects between the hooks of this event. Namespaces go last: a hook may run in them.
func (t *transaction) remove(ctx context.Context, gone []*unstructured.Unstructured, skipHooks bool) error {
	run := func(pick func(render.Hook) bool) error {
		if skipHooks {
			return nil
		}
		return t.runHooks(ctx, t.hooks(pick))
	}
	if err := run(before); err != nil {
		return fmt.Errorf("%w: nothing was deleted; %s", err, noHooks)
	}
	namespaces, rest := partition(gone, func(o *unstructured.Unstructured) bool { return plan.RefOf(o).GroupKind() == plan.NamespaceKind })
	if err := t.prune(ctx, rest, nil); err != nil {
		return err
	}
	if err := t.awaitGone(ctx, rest); err != nil {
		return err
	}
	if err := run(after); err != nil {
		return fmt.Errorf("%w: all else is deleted; %s", err, noHooks)
	}
	if err := t.prune(ctx, namespaces, nil); err != nil {
		return err
	}
	return t.awaitGone(ctx, namespaces)
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
