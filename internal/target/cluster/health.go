package cluster

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/target"
)

// Health implements target.Target. What runs has no problem since no workload became unavailable and no container was started
// again. A pod that is new because of a scale-up or a drained node is no problem.
func (t Target) Health(ctx context.Context, env *delivery.Environment, running target.Running) (target.Health, error) {
	c, err := connect(ctx, env)
	if err != nil {
		return target.Health{}, err
	}
	revisions, err := c.History(ctx, env.App, namespaceOf(env))
	if err != nil {
		return target.Health{}, err
	}
	revision := kube.Latest(revisions, kube.RevisionDeployed)
	if revision == nil || revision.Image != running.Image {
		return target.Health{Problem: "another image was delivered meanwhile"}, nil
	}
	objects, err := c.kube.ReadObjects(ctx, env.App, namespaceOf(env), revision)
	if err != nil {
		return target.Health{}, err
	}
	out := target.Health{Since: revision.Time}
	for _, o := range objects {
		if plan.StageOf(o.GroupVersionKind().GroupKind()) != plan.Workloads || o.GetKind() == "Job" || o.GetKind() == "CronJob" {
			continue
		}
		since, problem, err := c.workloadHealth(ctx, o)
		if err != nil {
			return out, err
		}
		if problem != "" {
			return target.Health{Problem: plan.RefOf(o).Long() + ": " + problem}, nil
		}
		if since.After(out.Since) {
			out.Since = since
		}
	}
	return out, nil
}

// workloadHealth returns since when a workload has had no problem, or the one that it has now.
func (c *Cluster) workloadHealth(ctx context.Context, o *unstructured.Unstructured) (since time.Time, problem string, err error) {
	now, err := c.kube.Reread(ctx, []*unstructured.Unstructured{o})
	if err != nil {
		return since, "", err
	}
	if len(now) == 0 {
		return since, "it is gone", nil
	}
	if o.GetKind() == "Deployment" {
		var d appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(now[0].Object, &d); err != nil {
			return since, "", fmt.Errorf("%s: %w", plan.RefOf(o).Long(), err)
		}
		for _, condition := range d.Status.Conditions {
			if condition.Type != appsv1.DeploymentAvailable {
				continue
			}
			if condition.Status != corev1.ConditionTrue {
				return since, condition.Message, nil
			}
			since = condition.LastTransitionTime.Time
		}
	}
	pods, err := c.kube.CurrentPods(ctx, now[0])
	if err != nil {
		return since, "", err
	}
	for i := range pods {
		again, problem := podHealth(&pods[i])
		if problem != "" {
			return since, fmt.Sprintf("Pod %s: %s", pods[i].Name, problem), nil
		}
		if again.After(since) {
			since = again
		}
	}
	return since, "", nil
}

// podHealth returns when a container of a pod was started again last, or what is wrong with one now.
func podHealth(p *corev1.Pod) (again time.Time, problem string) {
	for _, s := range p.Status.ContainerStatuses {
		switch {
		case s.State.Terminated != nil: // and is not counted as started again yet
			return again, fmt.Sprintf("container %s ended with exit code %d", s.Name, s.State.Terminated.ExitCode)
		case s.State.Waiting != nil && s.RestartCount > 0:
			return again, fmt.Sprintf("container %s is started again: %s", s.Name, s.State.Waiting.Reason)
		case s.State.Running != nil && s.RestartCount > 0 && s.State.Running.StartedAt.After(again):
			again = s.State.Running.StartedAt.Time
		}
		if s.State.Running != nil && s.RestartCount > 0 && !s.Ready {
			return again, fmt.Sprintf("container %s is not ready", s.Name)
		}
	}
	return again, ""
}
