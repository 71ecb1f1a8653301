package wait

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

const (
	// unseenGrace is how long workloads may be missing in the cluster after the operator has applied them.
	unseenGrace = 10 * time.Second
	// noWorkloadGrace is how long the status of the operator may lack the workload after it has applied the commit.
	noWorkloadGrace = 5 * time.Second
)

// seen is a workload at one look.
type seen struct {
	watch.Object
	object *unstructured.Unstructured
	images []string
}

// lookAtWorkloads judges all workloads together, and returns those that have the image.
func (w *waiter) lookAtWorkloads(ctx context.Context, s state) ([]Object, error) {
	world := w.view.world()
	var all []seen
	var looks []status.Look
	var others []string
	for _, o := range s.workloads {
		object := w.view.object(o)
		if object == nil {
			continue
		}
		here := seen{o, object, imagesOf(object)}
		others = append(others, here.images...)
		all = append(all, here)
		looks = append(looks, status.Look{ID: o.String(), Kind: o.Kind.GroupKind(), Status: status.Of(object, world)})
	}
	owners := map[types.UID]string{}
	for _, o := range all {
		if slices.ContainsFunc(o.images, w.concerns) {
			owners[o.object.GetUID()] = o.String()
		}
	}
	w.observer.Look(ctx, world, owners)
	var objects []Object
	for i, verdict := range w.judge.Look(time.Now(), looks) {
		if !slices.ContainsFunc(all[i].images, w.concerns) {
			continue
		}
		o, err := w.workload(ctx, all[i], verdict, world)
		if err != nil {
			return nil, err
		}
		w.tell(ctx, o.Ref, o.Message)
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Ref, b.Ref) })
	return objects, w.noWorkload(s, len(all), len(objects), others)
}

// noWorkload returns an error when the operator is done, and no workload has the image.
func (w *waiter) noWorkload(s state, visible, matching int, others []string) error {
	switch {
	case !s.applied || matching > 0:
		return nil
	case visible == 0 && len(s.workloads) > 0:
		err := fmt.Errorf("%s applied the commit, and none of its workloads is in this cluster: if it deploys to another one, name that with --context, or go through Argo CD's API with AKSFLOW_ARGOCD_SERVER", title(w.root))
		w.missing = append(w.missing, err.Error())
		if w.lasting.lasts("unseen", unseenGrace) {
			return err
		}
	case visible == len(s.workloads):
		slices.Sort(others)
		err := fmt.Errorf("%s applied the commit, and no workload of it runs %s; they run %s: check that the commit changes what this %s deploys, or %s",
			title(w.root), w.image.Repository, cmp.Or(strings.Join(slices.Compact(others), ", "), "nothing"), w.root.self().Kind.Kind, nameIt)
		w.missing = append(w.missing, err.Error())
		if w.lasting.lasts("no workload", noWorkloadGrace) {
			return err
		}
	}
	return nil
}

// workload returns how far one workload is. Its problems count only once its template has the image.
func (w *waiter) workload(ctx context.Context, s seen, v status.Verdict, world *status.World) (Object, error) {
	o := Object{Ref: s.String(), Message: v.Message}
	for _, image := range s.images {
		if w.concerns(image) && !w.runs(image) {
			o.Message = "still has " + image
			w.miss(o.Ref, "", o.Message)
			return o, nil
		}
	}
	failure := watch.Failure{Ref: o.Ref, Message: v.Message}
	if p := v.Problem; p != nil {
		failure.Pod, failure.Container, failure.Reason, failure.Message = p.Pod, p.Container, p.Reason, p.Message
		o.Message = strings.TrimPrefix(failure.String(), o.Ref+": ")
	}
	if v.Failed {
		if v.Problem != nil && v.Problem.Logs && failure.Pod != "" {
			failure.Logs = w.view.logs(ctx, s.Namespace, failure.Pod, failure.Container)
		}
		return o, &watch.RolloutError{Failures: []watch.Failure{failure}}
	}
	if v.Ready {
		o.Ready, o.Message = w.podsRun(s.object, world.Pods, cmp.Or(v.Message, "ready"))
	}
	if !o.Ready {
		w.miss(o.Ref, failure.Reason, o.Message)
	}
	return o, nil
}

// podsRun reports whether as many ready pods of a workload run the image as it should have, and no pod runs another image
// of the repository.
func (w *waiter) podsRun(object *unstructured.Unstructured, pods []*corev1.Pod, message string) (bool, string) {
	selector := selectorOf(object)
	if selector == nil || object.GetKind() == "Job" { // the pods of a Job that is complete have ended
		return true, message
	}
	running := 0
	for _, pod := range pods {
		if pod.Namespace != object.GetNamespace() || pod.DeletionTimestamp != nil || !selector.Matches(labels.Set(pod.Labels)) ||
			pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		has := false
		for _, image := range kube.PodImages(pod) {
			switch {
			case w.runs(image.Ref):
				has = true
			case w.concerns(image.Ref):
				return false, fmt.Sprintf("pod %s runs %s", pod.Name, image.Ref)
			}
		}
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if has && ready {
			running++
		}
	}
	wanted := 1
	if replicas, found, _ := unstructured.NestedInt64(object.Object, "spec", "replicas"); found {
		wanted = int(replicas)
	}
	if object.GetKind() == "DaemonSet" {
		scheduled, _, _ := unstructured.NestedInt64(object.Object, "status", "desiredNumberScheduled")
		wanted = int(scheduled)
	}
	if wanted > 0 {
		message = fmt.Sprintf("%d of %d pods run %s", running, wanted, cmp.Or(w.image.Digest, w.Image))
	}
	return running >= wanted, message
}

// selectorOf returns the selector of a workload's pods, or nil when it has none.
func selectorOf(object *unstructured.Unstructured) labels.Selector {
	fields, found, _ := unstructured.NestedMap(object.Object, "spec", "selector")
	var selector metav1.LabelSelector
	if !found || runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &selector) != nil {
		return nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil {
		return nil
	}
	return parsed
}

// imagesOf returns the images of an object's pods.
func imagesOf(object *unstructured.Unstructured) []string {
	var images []string
	manifest.Images(object.Object, func(i manifest.Image) {
		if image := i.Ref(); image != "" {
			images = append(images, image)
		}
	})
	return images
}

// concerns reports whether an image in the cluster is the one to wait for, in any version.
func (w *waiter) concerns(image string) bool {
	return w.runs(image) || ref.Read(image).SameRepository(w.image)
}

// runs reports whether an image in the cluster is the very one to wait for.
func (w *waiter) runs(image string) bool {
	if w.image.Digest == "" {
		return image == w.Image
	}
	return ref.Read(image).Digest == w.image.Digest
}
