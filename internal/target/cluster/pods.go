package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

const deploymentRevision = "deployment.kubernetes.io/revision"

// verifyImage looks whether the pods of every workload that should run the release's image do: an admission webhook may
// have put another one in.
func (c *Cluster) verifyImage(ctx context.Context, r *Release, objects []*unstructured.Unstructured) error {
	digest := ref.Read(r.Image).Digest
	if digest == "" {
		return nil
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "Deployment", "StatefulSet", "DaemonSet":
		default:
			continue
		}
		var names []string
		manifest.Containers(o.Object, func(_ string, container map[string]any) {
			if container["image"] == r.Image {
				name, _ := container["name"].(string)
				names = append(names, name)
			}
		})
		if len(names) == 0 {
			continue
		}
		pods, err := c.newPodsOf(ctx, o)
		if err != nil {
			return explain("the pods of "+plan.RefOf(o).In(r.Namespace), err)
		}
		for _, pod := range pods {
			for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
				if slices.Contains(names, container.Name) && ref.Read(container.Image).Digest != digest {
					return fmt.Errorf("pod %s runs %s in its container %s, and not %s: something in the cluster, such as an admission webhook, changes images",
						pod.Name, container.Image, container.Name, r.Image)
				}
			}
		}
	}
	return nil
}

// newPodsOf lists the pods that a workload has made of its present template. Those of an earlier one may be on their way
// out, or stay, as a StatefulSet's partition wants it.
func (c *Cluster) newPodsOf(ctx context.Context, workload *unstructured.Unstructured) ([]corev1.Pod, error) {
	pods, err := c.podsOf(ctx, workload)
	if err != nil {
		return nil, err
	}
	now, err := c.current(ctx, []*unstructured.Unstructured{workload})
	if err != nil || len(now) == 0 {
		return nil, err
	}
	label, template := "", ""
	switch workload.GetKind() {
	case "Deployment":
		label = appsv1.DefaultDeploymentUniqueLabelKey
		sets, err := c.replicaSetsOf(ctx, workload)
		if err != nil {
			return nil, err
		}
		for _, rs := range sets {
			if rs.Annotations[deploymentRevision] == now[0].GetAnnotations()[deploymentRevision] {
				template = rs.Labels[label]
			}
		}
	case "StatefulSet":
		label = appsv1.ControllerRevisionHashLabelKey
		template, _, _ = unstructured.NestedString(now[0].Object, "status", "updateRevision")
	case "DaemonSet":
		label, template = "pod-template-generation", now[0].GetAnnotations()[appsv1.DeprecatedTemplateGeneration]
	}
	return slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Labels[label] != template }), nil
}

// podsOf lists the pods that a workload selects and that are not on their way out.
func (c *Cluster) podsOf(ctx context.Context, workload *unstructured.Unstructured) ([]corev1.Pod, error) {
	selector, err := selectorOf(workload)
	if err != nil || selector == "" {
		return nil, err
	}
	var list *corev1.PodList
	err = c.request(ctx, func(ctx context.Context) (err error) {
		list, err = c.client.CoreV1().Pods(workload.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	}), nil
}

func selectorOf(workload *unstructured.Unstructured) (string, error) {
	fields, found, err := unstructured.NestedMap(workload.Object, "spec", "selector")
	if err != nil || !found {
		return "", err
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	var selector metav1.LabelSelector
	if err := json.Unmarshal(data, &selector); err != nil {
		return "", err
	}
	parsed, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil {
		return "", err
	}
	return parsed.String(), nil
}

// replaceStuckPods deletes the pods of a StatefulSet's failed revision that are not ready. The StatefulSet's controller
// waits for such a pod before it goes on, also when going on means going back.
func (c *Cluster) replaceStuckPods(ctx context.Context, before *unstructured.Unstructured) error {
	if before.GetKind() != "StatefulSet" {
		return nil
	}
	was, _, _ := unstructured.NestedString(before.Object, "status", "currentRevision")
	pods, err := c.podsOf(ctx, before)
	if err != nil || was == "" {
		return err
	}
	for _, pod := range pods {
		ready := slices.ContainsFunc(pod.Status.Conditions, func(p corev1.PodCondition) bool {
			return p.Type == corev1.PodReady && p.Status == corev1.ConditionTrue
		})
		if ready || pod.Labels[appsv1.ControllerRevisionHashLabelKey] == was || !metav1.IsControlledBy(&pod, before) {
			continue
		}
		err := c.request(ctx, func(ctx context.Context) error {
			return c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// forgetRollout takes a rollout that failed out of a Deployment's own history: its ReplicaSet, which has no pods left,
// is deleted, and the one that runs again gets the revision number that it had. The Deployment's annotation follows.
func (c *Cluster) forgetRollout(ctx context.Context, ch change) error {
	if ch.replicaSets == nil {
		return nil
	}
	now, err := c.replicaSetsOf(ctx, ch.before)
	if err != nil {
		return err
	}
	client := c.client.AppsV1().ReplicaSets(ch.ref.Namespace)
	for uid, rs := range now {
		// One that is still to be scaled down keeps its place in the history. The count in its status may lag.
		if _, old := ch.replicaSets[uid]; old || value(rs.Spec.Replicas) > 0 {
			continue
		}
		err := c.request(ctx, func(ctx context.Context) error {
			return client.Delete(ctx, rs.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(uid))})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for uid, rs := range now {
		old, ok := ch.replicaSets[uid]
		if !ok || maps.Equal(old.Annotations, rs.Annotations) {
			continue
		}
		annotations := map[string]any{} // nil removes
		for _, key := range []string{deploymentRevision, deploymentRevision + "-history"} {
			annotations[key] = nil
			if value, ok := old.Annotations[key]; ok {
				annotations[key] = value
			}
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
		if err != nil {
			return err
		}
		err = c.request(ctx, func(ctx context.Context) error {
			_, err := client.Patch(ctx, rs.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// replicaSetsOf lists a Deployment's ReplicaSets by their uid.
func (c *Cluster) replicaSetsOf(ctx context.Context, deployment *unstructured.Unstructured) (map[types.UID]appsv1.ReplicaSet, error) {
	selector, err := selectorOf(deployment)
	if err != nil {
		return nil, err
	}
	var list *appsv1.ReplicaSetList
	err = c.request(ctx, func(ctx context.Context) (err error) {
		list, err = c.client.AppsV1().ReplicaSets(deployment.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return err
	})
	if err != nil {
		return nil, err
	}
	sets := map[types.UID]appsv1.ReplicaSet{}
	for _, rs := range list.Items {
		if metav1.IsControlledBy(&rs, deployment) {
			sets[rs.UID] = rs
		}
	}
	return sets, nil
}
