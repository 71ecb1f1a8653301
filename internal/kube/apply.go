package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

// Everything that changes an object of a release is in this file.

// ApplyOptions change how [Cluster.Apply] applies.
type ApplyOptions struct {
	// Force takes over fields that another manager owns.
	Force bool
	// DryRun lets the API server answer without storing anything.
	DryRun bool
}

// Apply is a server-side apply as [Manager]. It returns the object as the server has it afterwards.
func (c *Cluster) Apply(ctx context.Context, o *unstructured.Unstructured, options ApplyOptions) (*unstructured.Unstructured, error) {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return nil, err
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	patch := metav1.PatchOptions{FieldManager: Manager, Force: &options.Force}
	if options.DryRun {
		patch.DryRun = []string{metav1.DryRunAll}
	}
	send := c.write
	if options.DryRun {
		send = c.Retry
	}
	var applied *unstructured.Unstructured
	err = send(ctx, func(ctx context.Context) (err error) {
		applied, err = client.Patch(ctx, o.GetName(), types.ApplyPatchType, data, patch)
		return err
	})
	return applied, err
}

// Adopt makes [Manager] the owner of what kubectl apply or Helm owned of live, and of defaults, which nobody owned: see
// [plan.Adopt].
func (c *Cluster) Adopt(ctx context.Context, live *unstructured.Unstructured, defaults *fieldpath.Set) error {
	client, err := c.Resource(ctx, live.GroupVersionKind(), live.GetNamespace())
	if err != nil {
		return err
	}
	now, err := c.get(ctx, client, live.GetName())
	if err != nil || now == nil {
		return err
	}
	var failed error
	_, err = c.rewrite(ctx, client, now, func(now *unstructured.Unstructured) *unstructured.Unstructured {
		adopted, err := plan.Adopt(now, Manager, defaults)
		if failed = err; adopted == nil || err != nil {
			return now
		}
		return adopted
	})
	return errors.Join(err, failed)
}

// MoveFields makes the version of the API in which o is to be applied the one in which [Manager] has applied the object before. The
// fields that it owns have the same paths.
func (c *Cluster) MoveFields(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	now, err := c.get(ctx, client, o.GetName())
	if err != nil || now == nil {
		return err
	}
	_, err = c.rewrite(ctx, client, now, func(now *unstructured.Unstructured) *unstructured.Unstructured {
		entries := now.GetManagedFields()
		for i := range entries {
			if entries[i].Manager == Manager {
				entries[i].APIVersion = o.GetAPIVersion()
			}
		}
		now.SetManagedFields(entries)
		return now
	})
	return err
}

// TryWithout is a dry run of an apply that also removes fields which nobody owns, as an apply after [Cluster.Adopt] does.
// It returns the object as the server would have it.
func (c *Cluster) TryWithout(ctx context.Context, o *unstructured.Unstructured, fields *fieldpath.Set) (*unstructured.Unstructured, error) {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return nil, err
	}
	patch := o.DeepCopy()
	for path := range fields.All() {
		names := make([]string, 0, len(path))
		for _, element := range path {
			names = append(names, *element.FieldName)
		}
		_ = unstructured.SetNestedField(patch.Object, nil, names...) // deeper ones come later, and find no map
	}
	data, err := patch.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var merged *unstructured.Unstructured
	err = c.Retry(ctx, func(ctx context.Context) (err error) {
		merged, err = client.Patch(ctx, o.GetName(), types.MergePatchType, data, metav1.PatchOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
		return err
	})
	return merged, err
}

// AcceptsNew reports whether the API server would accept o as a new object. If it does, and refuses o as a change of the
// object that exists, then a field cannot be changed in place: it is found by asking, since each kind says it in other words.
func (c *Cluster) AcceptsNew(ctx context.Context, o *unstructured.Unstructured) bool {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return false
	}
	other := o.DeepCopy()
	other.SetName(trialName(o.GetName()))
	err = c.Retry(ctx, func(ctx context.Context) error {
		_, err := client.Create(ctx, other, metav1.CreateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
		return err
	})
	return err == nil
}

// maxName is the longest name that all kinds take, in bytes: that of a label's value.
const maxName = 63

// trialName returns another name that is valid wherever name is.
func trialName(name string) string {
	const ending = "-x7"
	return strings.TrimRight(name[:min(len(name), maxName-len(ending))], "-.") + ending
}

// Remove deletes an object and, when wait is set, returns after it and its dependents are gone. An object of the same
// name with another uid is left alone.
func (c *Cluster) Remove(ctx context.Context, o *unstructured.Unstructured, wait bool) error {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	background, uid := metav1.DeletePropagationBackground, o.GetUID()
	if wait {
		// What takes its place may want the same names for its pods.
		background = metav1.DeletePropagationForeground
	}
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	err = c.write(ctx, func(ctx context.Context) error { return client.Delete(ctx, o.GetName(), options) })
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another one by now
		return nil
	case err != nil:
		return err
	case !wait:
		return nil
	}
	return c.AwaitGone(ctx, o)
}

// Recreate deletes live, waits until it is gone, and applies o in its place.
func (c *Cluster) Recreate(ctx context.Context, live, o *unstructured.Unstructured, options ApplyOptions) (*unstructured.Unstructured, error) {
	if err := c.Remove(ctx, live, true); err != nil {
		return nil, fmt.Errorf("deleting it to create it again: %w", err)
	}
	return c.Apply(ctx, o, options)
}

// PutBack writes an object as it was before, field by field, and gives the fields back to their owners. It is not an
// apply, which could not put back what was taken over from other managers by force. An autoscaled workload keeps its
// present number of pods.
func (c *Cluster) PutBack(ctx context.Context, before *unstructured.Unstructured, autoscaled bool) error {
	client, err := c.Resource(ctx, before.GroupVersionKind(), before.GetNamespace())
	if err != nil {
		return err
	}
	now, err := c.get(ctx, client, before.GetName())
	if err != nil {
		return err
	}
	if now == nil || now.GetUID() != before.GetUID() || now.GetDeletionTimestamp() != nil {
		return c.createAgain(ctx, before, now)
	}
	if now.GetResourceVersion() == before.GetResourceVersion() {
		return nil // it was never changed: its apply was refused
	}
	now, err = c.rewrite(ctx, client, now, func(now *unstructured.Unstructured) *unstructured.Unstructured {
		restored := before.DeepCopy()
		restored.SetManagedFields(nil)
		if autoscaled && plan.ScaledByController(now) {
			_ = unstructured.SetNestedField(restored.Object, plan.Replicas(now), "spec", "replicas")
		}
		return restored
	})
	if err != nil {
		return err
	}
	return c.giveBack(ctx, client, now, before)
}

// rewrite replaces now by the result of change, and reads it again when a controller wrote to it in between.
func (c *Cluster) rewrite(ctx context.Context, client dynamic.ResourceInterface, now *unstructured.Unstructured, change func(*unstructured.Unstructured) *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for tries := 0; ; tries++ {
		changed := change(now.DeepCopy())
		changed.SetResourceVersion(now.GetResourceVersion())
		var updated *unstructured.Unstructured
		err := c.write(ctx, func(ctx context.Context) (err error) {
			updated, err = client.Update(ctx, changed, metav1.UpdateOptions{FieldManager: Manager})
			return err
		})
		if !apierrors.IsConflict(err) || tries == 10 {
			return updated, err
		}
		if now, err = c.get(ctx, client, now.GetName()); err != nil {
			return nil, err
		}
		if now == nil {
			return nil, errors.New("it was deleted by someone else while it was put back")
		}
	}
}

// createAgain creates an object that was deleted. now is the object that has its name by now, or nil.
func (c *Cluster) createAgain(ctx context.Context, before, now *unstructured.Unstructured) error {
	client, err := c.Resource(ctx, before.GroupVersionKind(), before.GetNamespace())
	if err != nil {
		return err
	}
	if now != nil {
		if err := c.Remove(ctx, now, true); err != nil {
			return err
		}
	}
	o := before.DeepCopy()
	o.SetManagedFields(nil)
	for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "deletionTimestamp"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	if plan.RefOf(o).GroupKind() == plan.JobKind {
		// The server makes them for each Job, and refuses those of another.
		unstructured.RemoveNestedField(o.Object, "spec", "selector")
		for _, label := range []string{"controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"} {
			unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "labels", label)
		}
	}
	var created *unstructured.Unstructured
	err = c.write(ctx, func(ctx context.Context) (err error) {
		created, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: Manager})
		return err
	})
	if apierrors.IsAlreadyExists(err) { // the answer to an earlier try was lost
		created, err = c.get(ctx, client, o.GetName())
	}
	if err != nil || created == nil {
		return err
	}
	return c.giveBack(ctx, client, created, before)
}

// giveBack gives the fields of now to their owners of before. It is a write that changes no field: the server then takes
// the owners as they are sent.
func (c *Cluster) giveBack(ctx context.Context, client dynamic.ResourceInterface, now, before *unstructured.Unstructured) error {
	_, err := c.rewrite(ctx, client, now, func(now *unstructured.Unstructured) *unstructured.Unstructured {
		now.SetManagedFields(before.GetManagedFields())
		return now
	})
	return err
}
