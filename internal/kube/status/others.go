package status

import (
	"cmp"
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// claim reads
//
//	spec:
//	  storageClassName: managed-csi
//	status:
//	  phase: Bound         # or Pending, Lost
//
// its StorageClass
//
//	volumeBindingMode: WaitForFirstConsumer
//
// and the events of the claim. A claim whose class binds only when a pod uses it stays Pending, rightly so.
func claim(c *corev1.PersistentVolumeClaim, w *World) Status {
	switch c.Status.Phase {
	case corev1.ClaimBound:
		return Status{Ready: true, Message: "bound"}
	case corev1.ClaimLost:
		return Status{Message: "lost", Problems: []Problem{{Reason: "Lost", Message: "its volume is gone"}}}
	}
	binds := Status{Ready: true, Message: "binds when a pod uses it"}
	name := ""
	if c.Spec.StorageClassName != nil {
		name = *c.Spec.StorageClassName
	}
	p := Problem{Reason: "Pending", Message: "nothing has given it a volume: look at its storage class", Heals: Perhaps, Grace: w.cloudGrace()}
	class, known := w.find(StorageClasses, "", name)
	if class != nil && class.Object["volumeBindingMode"] == "WaitForFirstConsumer" {
		return binds
	}
	for _, event := range w.allEventsOf(c.UID) {
		switch event.Reason {
		case "WaitForFirstConsumer", "WaitForPodScheduled":
			return binds // whenever that was
		case "ProvisioningFailed", "FailedBinding":
			if w.Before.isNew(event) {
				p.Reason, p.Message, p.Grace = event.Reason, event.Message, w.Graces.Place
			}
		}
	}
	if name != "" && (known && class == nil || !known && noClass(p.Message, name)) {
		p.Message = fmt.Sprintf("there is no StorageClass %q in the cluster: name another one, or create it", name)
		p.Grace = w.Graces.Config // a volume that is made by hand may have that class all the same
	}
	if p.Reason == "FailedBinding" && name == "" && c.Spec.VolumeName == "" {
		p.Message = "it names no storage class, the cluster has no default one, and no volume fits: set storageClassName"
		p.Grace = w.Graces.Config
	}
	return Status{Message: "waits for a volume", Problems: []Problem{p}}
}

// noClass reports whether the message of an event says that a StorageClass is missing: storageclass.storage.k8s.io "x" not found.
func noClass(message, name string) bool {
	return strings.Contains(message, "storageclass") && strings.Contains(message, quote(name)+" not found")
}

// service reads
//
//	spec:
//	  type: LoadBalancer
//	status:
//	  loadBalancer:
//	    ingress:
//	    - ip: 20.31.4.5
//
// and the events of the cloud's controller. Other types are ready when they are stored.
func service(s *corev1.Service, w *World) Status {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return Status{Ready: true}
	}
	if ingress := s.Status.LoadBalancer.Ingress; len(ingress) > 0 {
		return Status{Ready: true, Message: "at " + cmp.Or(ingress[0].IP, ingress[0].Hostname)}
	}
	status := Status{Message: "waits for an address", Problems: []Problem{{
		Reason: "Pending", Message: "nothing has given it an address: does the cluster have a load balancer?", Heals: Perhaps, Grace: w.cloudGrace(),
	}}}
	for _, event := range w.eventsOf(s.UID) {
		if event.Reason == "SyncLoadBalancerFailed" {
			// It is tried again, and Azure serves one change of a load balancer at a time.
			status.Problems = []Problem{{Reason: event.Reason, Message: "the cloud gives it no address: " + event.Message, Heals: Perhaps, Grace: w.cloudGrace()}}
			if containsAny(event.Message, "AuthorizationFailed", "PublicIPCountLimitReached", "QuotaExceeded", "InvalidParameter", "not found") {
				status.Problems[0].Grace = w.Graces.Place
			}
		}
	}
	return status
}

// autoscaler reads
//
//	status:
//	  currentReplicas: 3
//	  conditions:
//	  - type: AbleToScale            # False: the target is not there
//	    status: "True"
//	  - type: ScalingActive          # False: no metrics; new pods have none for a minute
//	    status: "False"
//	    reason: FailedGetResourceMetric
//
// A cluster without metrics must not fail a deploy of an app that runs, nor may one whose load wants more pods than
// maxReplicas, so only a target that is missing counts.
func autoscaler(a *autoscalingv2.HorizontalPodAutoscaler, w *World) Status {
	message := ""
	for _, condition := range a.Status.Conditions {
		if condition.Status != corev1.ConditionFalse {
			continue
		}
		if condition.Type == autoscalingv2.AbleToScale && condition.Reason == "FailedGetScale" {
			return Status{Message: "its target is missing", Problems: []Problem{{
				Reason: condition.Reason, Heals: Perhaps, Grace: w.Graces.Refused,
				Message: fmt.Sprintf("%s/%s cannot be scaled: %s", a.Spec.ScaleTargetRef.Kind, a.Spec.ScaleTargetRef.Name, condition.Message),
			}}}
		}
		if condition.Type == autoscalingv2.ScalingActive {
			message = "no metrics yet"
		}
	}
	return Status{Ready: true, Message: message}
}
