package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// deploymentRevision is the annotation that numbers the templates of a Deployment, on it and on its ReplicaSets.
const deploymentRevision = "deployment.kubernetes.io/revision"

// CurrentPods lists the pods that a workload made of its current template. Pods of an earlier template may still be
// terminating, or stay, as with a StatefulSet's partition.
func (c *Cluster) CurrentPods(ctx context.Context, workload *unstructured.Unstructured) ([]corev1.Pod, error) {
	pods, err := c.podsOf(ctx, workload)
	if err != nil {
		return nil, err
	}
	now, err := c.Reread(ctx, []*unstructured.Unstructured{workload})
	if err != nil || len(now) == 0 {
		return nil, err
	}
	label, template := "", ""
	switch workload.GetKind() {
	case "Deployment":
		label = appsv1.DefaultDeploymentUniqueLabelKey
		if template, err = c.TemplateHash(ctx, now[0]); err != nil {
			return nil, err
		}
	case "StatefulSet":
		label = appsv1.ControllerRevisionHashLabelKey
		template, _, _ = unstructured.NestedString(now[0].Object, "status", "updateRevision")
	case "DaemonSet":
		label, template = "pod-template-generation", now[0].GetAnnotations()[appsv1.DeprecatedTemplateGeneration]
	}
	return slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.Labels[label] != template }), nil
}

// PodUIDs lists the uids of a namespace's pods. Only their metadata is transferred.
func (c *Cluster) PodUIDs(ctx context.Context, namespace string) ([]types.UID, error) {
	var list metav1.PartialObjectMetadataList
	err := c.Retry(ctx, func(ctx context.Context) error {
		body, err := c.core.RESTClient().Get().Namespace(namespace).Resource("pods").
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &list)
	})
	uids := make([]types.UID, 0, len(list.Items))
	for i := range list.Items {
		uids = append(uids, list.Items[i].UID)
	}
	return uids, err
}

// AwaitPod returns a pod that labels select and for which fits is true, as soon as there is one; the newest of several.
func (c *Cluster) AwaitPod(ctx context.Context, namespace string, selected map[string]string, fits func(*corev1.Pod) bool) (*corev1.Pod, error) {
	pods := c.core.Pods(namespace)
	selector := labels.SelectorFromSet(selected).String()
	for {
		var list *corev1.PodList
		err := c.Retry(ctx, func(ctx context.Context) (err error) {
			list, err = pods.List(ctx, metav1.ListOptions{LabelSelector: selector})
			return err
		})
		if err != nil {
			return nil, Explain("the pods of the namespace "+namespace, err)
		}
		slices.SortStableFunc(list.Items, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
		for i := range list.Items {
			if fits(&list.Items[i]) {
				return &list.Items[i], nil
			}
		}
		changes, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: list.ResourceVersion})
		if err != nil {
			return nil, Explain("the pods of the namespace "+namespace, err)
		}
		for event := range changes.ResultChan() { // it is closed at times, and then begun again
			if pod, ok := event.Object.(*corev1.Pod); ok && event.Type != watch.Deleted && fits(pod) {
				changes.Stop()
				return pod, nil
			}
		}
		changes.Stop()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// TemplateHash returns the label pod-template-hash of the pods of a Deployment's current template, "" if there is none.
func (c *Cluster) TemplateHash(ctx context.Context, deployment *unstructured.Unstructured) (string, error) {
	sets, err := c.ReplicaSets(ctx, deployment)
	for _, rs := range sets {
		if rs.Annotations[deploymentRevision] == deployment.GetAnnotations()[deploymentRevision] {
			return rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey], err
		}
	}
	return "", err
}

// podsOf lists the pods that a workload selects, without those that are terminating or have ended.
func (c *Cluster) podsOf(ctx context.Context, workload *unstructured.Unstructured) ([]corev1.Pod, error) {
	selector, err := selectorOf(workload)
	if err != nil || selector == "" {
		return nil, err
	}
	var list *corev1.PodList
	err = c.Retry(ctx, func(ctx context.Context) (err error) {
		list, err = c.core.Pods(workload.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
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

// ReplaceStuckPods deletes the pods of a StatefulSet's failed revision that are not ready. The StatefulSet's controller
// waits for such a pod before it continues, even to go back.
func (c *Cluster) ReplaceStuckPods(ctx context.Context, before *unstructured.Unstructured) error {
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
		err := c.write(ctx, func(ctx context.Context) error {
			return c.core.Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// ForgetRollout removes a failed rollout from a Deployment's own history: its ReplicaSet, which has no pods left, is
// deleted, and the one that runs again gets back the revision number that it had in before. The Deployment's annotation
// follows.
func (c *Cluster) ForgetRollout(ctx context.Context, deployment *unstructured.Unstructured, before map[types.UID]appsv1.ReplicaSet) error {
	now, err := c.ReplicaSets(ctx, deployment)
	if err != nil {
		return err
	}
	client := c.apps.ReplicaSets(deployment.GetNamespace())
	for uid, rs := range now {
		// One that still has to be scaled down keeps its place in the history. The count in its status may lag.
		if _, old := before[uid]; old || rs.Spec.Replicas != nil && *rs.Spec.Replicas > 0 {
			continue
		}
		err := c.write(ctx, func(ctx context.Context) error {
			return client.Delete(ctx, rs.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(uid))})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for uid, rs := range now {
		old, ok := before[uid]
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
		err = c.write(ctx, func(ctx context.Context) error {
			_, err := client.Patch(ctx, rs.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ReplicaSets lists a Deployment's ReplicaSets by their uid.
func (c *Cluster) ReplicaSets(ctx context.Context, deployment *unstructured.Unstructured) (map[types.UID]appsv1.ReplicaSet, error) {
	selector, err := selectorOf(deployment)
	if err != nil {
		return nil, err
	}
	var list *appsv1.ReplicaSetList
	err = c.Retry(ctx, func(ctx context.Context) (err error) {
		list, err = c.apps.ReplicaSets(deployment.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
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

const (
	// lastLines is how many lines of a container's output are shown.
	lastLines = 12
	// logTimeout bounds reading them.
	logTimeout = 3 * time.Second
)

// isKubeletsOwn reports whether a line of a container's output is what the kubelet writes when the output is removed
// already.
func isKubeletsOwn(line string) bool {
	return strings.HasPrefix(line, "unable to retrieve container logs") ||
		strings.HasPrefix(line, "failed to try resolving symlinks in path") && strings.HasSuffix(line, "no such file or directory")
}

// LastLines returns the last lines that a container wrote, after those of its previous run if it crashed.
func (c *Cluster) LastLines(ctx context.Context, namespace, pod, container string) []string {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	var lines []string
	for _, previous := range []bool{true, false} {
		tail := int64(lastLines)
		stream, err := c.core.Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &tail}).Stream(ctx)
		if err != nil {
			continue
		}
		var read []string
		scanner := bufio.NewScanner(stream)
		for scanner.Scan() {
			if line := strings.TrimRight(scanner.Text(), "\r"); !isKubeletsOwn(line) {
				read = append(read, line)
			}
		}
		_ = stream.Close()
		if !slices.Equal(read, lines) { // both are the same run while a container waits for its restart
			lines = append(lines, read...)
		}
	}
	return lines
}

// PodImage is an image that a pod has.
type PodImage struct {
	Field string // of the pod's spec: containers, initContainers, volumes
	Name  string // of the container or the volume
	Ref   string
}

// Title names the place of the image for people.
func (i PodImage) Title() string { return "its " + strings.TrimSuffix(i.Field, "s") + " " + i.Name }

// PodImages returns the images that a pod has: those of its containers, and those that it mounts as volumes.
func PodImages(pod *corev1.Pod) []PodImage {
	var images []PodImage
	for _, c := range pod.Spec.InitContainers {
		images = append(images, PodImage{"initContainers", c.Name, c.Image})
	}
	for _, c := range pod.Spec.Containers {
		images = append(images, PodImage{"containers", c.Name, c.Image})
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil {
			images = append(images, PodImage{"volumes", v.Name, v.Image.Reference})
		}
	}
	return images
}
