package cluster_test

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	coordination "k8s.io/client-go/applyconfigurations/coordination/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// nodeName is the node that all pods are bound to.
const nodeName = "node"

// keepNode makes the node, and says all the time that it lives: Kubernetes ends pods whose node is gone, or silent, after 40 s.
// DaemonSets have no pods there.
func keepNode(ctx context.Context, client kubernetes.Interface) {
	_, _ = client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "example.com/played", Effect: corev1.TaintEffectNoSchedule}}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}},
	}, metav1.CreateOptions{})
	leases := client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		lives := coordination.LeaseSpec().WithHolderIdentity(nodeName).WithLeaseDurationSeconds(40).WithRenewTime(metav1.NowMicro())
		_, _ = leases.Apply(ctx, coordination.Lease(nodeName, corev1.NamespaceNodeLease).WithSpec(lives), metav1.ApplyOptions{FieldManager: nodeName, Force: true})
	}, 5*time.Second)
}

// playNodes makes every pod run, and become ready, as soon as it is made. how, which may be nil, says otherwise: it changes
// the status that the pod is about to get, or returns false to leave the pod as it is.
func playNodes(ctx context.Context, client kubernetes.Interface, how func(*corev1.Pod) bool) {
	go keepNode(ctx, client)
	watcher := cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.Everything())
	visit := func(o any) {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return
		}
		if pod.DeletionTimestamp != nil {
			zero := int64(0)
			_ = client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
			return
		}
		if pod.Spec.NodeName == "" {
			_ = client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
				Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
			}, metav1.CreateOptions{})
			return
		}
		if len(pod.Status.ContainerStatuses) > 0 {
			return
		}
		pod = pod.DeepCopy()
		running(pod)
		if how != nil && !how(pod) {
			return
		}
		_, _ = client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: watcher, ObjectType: &corev1.Pod{}, ResyncPeriod: 0,
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: visit, UpdateFunc: func(_, o any) { visit(o) }},
	})
	go informer.RunWithContext(ctx)
}

// running fills in the status of a pod whose containers run and are ready.
func running(pod *corev1.Pod) {
	now := metav1.NewTime(time.Now().Add(-time.Minute)) // long enough to count as settled
	yes := true
	pod.Status.Phase = corev1.PodRunning
	pod.Status.StartTime = &now
	pod.Status.Conditions = nil
	for _, condition := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	pod.Status.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		_, digest, _ := strings.Cut(c.Image, "@")
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: digest, Ready: true, Started: &yes,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
}

// waiting makes a running pod's first container wait for a reason instead.
func waiting(pod *corev1.Pod, reason, message string) {
	no := false
	pod.Status.Phase = corev1.PodPending
	for i := range pod.Status.Conditions {
		if kind := pod.Status.Conditions[i].Type; kind == corev1.PodReady || kind == corev1.ContainersReady {
			pod.Status.Conditions[i].Status = corev1.ConditionFalse
		}
	}
	status := &pod.Status.ContainerStatuses[0]
	status.Ready, status.Started = false, &no
	status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// ends makes a running pod's first container have ended.
func ends(pod *corev1.Pod, code int32) {
	pod.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	for i := range pod.Status.Conditions {
		if kind := pod.Status.Conditions[i].Type; kind == corev1.PodReady || kind == corev1.ContainersReady {
			pod.Status.Conditions[i].Status = corev1.ConditionFalse
		}
	}
	status := &pod.Status.ContainerStatuses[0]
	now := metav1.Now()
	status.Ready, status.Started = false, nil
	status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: now, StartedAt: now}}
}
