package cluster

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
	"github.com/aksflow/aksflow/internal/render"
)

var podKind = schema.GroupKind{Kind: "Pod"}

// event is what this transaction is for the app's hooks. An app whose deploys all failed was never installed.
func (t *transaction) event() render.Event {
	switch {
	case t.uninstalls:
		return render.Uninstall
	case t.release.Rollback:
		return render.Rollback
	case kube.Latest(t.revisions, kube.RevisionDeployed) != nil:
		return render.Upgrade
	}
	return render.Install
}

// separate returns the objects that are no hooks of any event, then those that are. A hook is not a member of the app's
// ApplySet: it is not pruned when another event does not run it.
func separate(objects []*unstructured.Unstructured) (rest, hooks []*unstructured.Unstructured) {
	rest, _ = render.Hooks(objects, "")
	plain := make(map[*unstructured.Unstructured]bool, len(rest))
	for _, o := range rest {
		plain[o] = true
	}
	for _, o := range objects {
		if !plain[o] {
			hooks = append(hooks, o)
		}
	}
	return rest, hooks
}

// hooks are the hooks of the release that run now.
func (t *transaction) hooks(pick func(render.Hook) bool) []render.Hook {
	_, hooks := render.Hooks(t.hookObjects, t.event())
	return slices.DeleteFunc(hooks, func(h render.Hook) bool { return !pick(h) })
}

func before(h render.Hook) bool { return h.Before }
func after(h render.Hook) bool  { return h.After }
func always(render.Hook) bool   { return true }

// changedHook is a hook that is not what the deployed revision has. before is nil when it is new.
type changedHook struct{ object, before *unstructured.Unstructured }

// changedHooks compares the hooks that run now with those of the deployed revision's record. The cluster does not say: a
// hook may be deleted after it has run.
func (t *transaction) changedHooks(ctx context.Context) ([]changedHook, error) {
	hooks := t.hooks(always)
	if len(hooks) == 0 {
		return nil, nil
	}
	recorded := map[plan.Ref]*unstructured.Unstructured{}
	if now := kube.Latest(t.revisions, kube.RevisionDeployed); now != nil {
		objects, err := t.cluster.kube.ReadObjects(ctx, t.release.App, t.release.Namespace, now)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			recorded[plan.RefOf(o)] = o
		}
	}
	var changed []changedHook
	for _, h := range hooks {
		before := recorded[plan.RefOf(h.Object)]
		if before == nil || !reflect.DeepEqual(before.Object, h.Object.Object) {
			changed = append(changed, changedHook{h.Object, before})
		}
	}
	return changed, nil
}

// leftHooks returns the names of hooks that are still in the cluster.
func (t *transaction) leftHooks(ctx context.Context) ([]string, error) {
	var names []string
	for _, o := range t.hookObjects {
		live, err := t.cluster.kube.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if err != nil && !kube.IsMissing(err) {
			return nil, kube.Explain(plan.RefOf(o).In(t.release.Namespace), err)
		}
		if live != nil && live.GetDeletionTimestamp() == nil {
			names = append(names, plan.RefOf(o).In(t.release.Namespace))
		}
	}
	return names, nil
}

// tryHooks asks the API server whether it would take the hooks, before anything is applied.
func (t *transaction) tryHooks(ctx context.Context) error {
	for _, h := range t.hooks(always) {
		_, err := t.cluster.kube.Apply(ctx, h.Object, kube.ApplyOptions{Force: t.release.ForceConflicts, DryRun: true})
		if err != nil && !kube.IsMissing(err) && !kube.SaysImmutable(err) && !brings(t.objects, h.Object, err) {
			return kube.Explain("the hook "+plan.RefOf(h.Object).In(t.release.Namespace), err)
		}
	}
	return nil
}

// runHooks runs hooks one after the other, and deletes those that ask for it when all have succeeded. When one fails the
// rest does not run.
func (t *transaction) runHooks(ctx context.Context, hooks []render.Hook) error {
	for i, h := range hooks {
		err := t.runHook(ctx, h)
		if err == nil {
			continue
		}
		if h.DeleteFailed {
			t.deleteHooks(ctx, []render.Hook{h})
		}
		t.deleteHooks(ctx, slices.DeleteFunc(slices.Clone(hooks[:i]), func(h render.Hook) bool { return !h.DeleteSucceeded }))
		return fmt.Errorf("the hook %w", err)
	}
	t.deleteHooks(ctx, slices.DeleteFunc(slices.Clone(hooks), func(h render.Hook) bool { return !h.DeleteSucceeded }))
	return nil
}

// runHook applies a hook and returns when it has finished.
func (t *transaction) runHook(ctx context.Context, h render.Hook) error {
	ref := plan.RefOf(h.Object)
	name := ref.In(t.release.Namespace)
	live, err := t.cluster.kube.Get(ctx, h.Object.GroupVersionKind(), h.Object.GetNamespace(), h.Object.GetName())
	if err != nil {
		return kube.Explain(name, err)
	}
	object := h.Object.DeepCopy()
	trace(object, &t.release)
	change := plan.Change{Object: object, Live: live, Action: plan.Created}
	if live != nil {
		change.Action, change.Recreate = plan.Configured, h.DeleteFirst && runsOnce(ref)
	}
	if err := t.ApplyOne(ctx, change); err != nil {
		return err
	}
	applied := t.Applied(ref)
	// A hook is not one of the objects that have to be ready in the end: it may be deleted by then.
	t.mu.Lock()
	delete(t.applied, ref)
	t.mu.Unlock()
	if err := watch.Await(ctx, t.cluster.kube, []*unstructured.Unstructured{applied}, t.watchOptions()); err != nil {
		return err
	}
	if ref.GroupKind() != podKind {
		return nil
	}
	return t.awaitPod(ctx, applied)
}

// runsOnce reports whether an object has to be created anew to run again. All other hooks are changed in place: deleting
// a claim or a Secret to create it again would destroy what is in it.
func runsOnce(ref plan.Ref) bool {
	return ref.GroupKind() == plan.JobKind || ref.GroupKind() == podKind
}

// awaitPod returns when a hook's pod has ended: it is not enough that it is ready.
func (t *transaction) awaitPod(ctx context.Context, pod *unstructured.Unstructured) error {
	name := plan.RefOf(pod).In(t.release.Namespace)
	for {
		now, err := t.cluster.kube.Get(ctx, pod.GroupVersionKind(), pod.GetNamespace(), pod.GetName())
		switch {
		case err != nil:
			return kube.Explain(name, err)
		case now == nil:
			return fmt.Errorf("%s: the pod was deleted before it ended", name)
		}
		switch phase, _, _ := unstructured.NestedString(now.Object, "status", "phase"); phase {
		case "Succeeded":
			return nil
		case "Failed":
			return watch.Await(ctx, t.cluster.kube, []*unstructured.Unstructured{now}, t.watchOptions())
		}
		report.Waitf(ctx, name, "running")
		if err := t.cluster.kube.AwaitChange(ctx, now); err != nil {
			return err
		}
	}
}

// deleteHooks deletes hooks, the last one first. A hook that cannot be deleted is a warning: it has done its work.
func (t *transaction) deleteHooks(ctx context.Context, hooks []render.Hook) {
	for _, h := range slices.Backward(hooks) {
		ref := plan.RefOf(h.Object)
		if guard := t.release.guard(h.Object); guard != nil {
			report.Warn(ctx, "%s is not deleted although its hook-delete-policy says so, since %s", ref.In(t.release.Namespace), guard.why)
			continue
		}
		live, err := t.cluster.kube.Get(ctx, h.Object.GroupVersionKind(), h.Object.GetNamespace(), h.Object.GetName())
		if err == nil && live != nil {
			err = t.cluster.kube.Remove(ctx, live, false)
		}
		if err != nil {
			report.Warn(ctx, "the hook stays: %v", kube.Explain("deleting "+ref.In(t.release.Namespace), err))
		}
	}
}
