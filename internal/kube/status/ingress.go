package status

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// IngressClasses is a kind that Find is asked for.
var IngressClasses = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass"}

// ingressLimit is how long a controller that has taken an Ingress may take to write its address: ingress-nginx does so
// once a minute.
const ingressLimit = 90 * time.Second

// ingress reads
//
//	spec:
//	  ingressClassName: webapprouting.kubernetes.azure.com
//	status:
//	  loadBalancer:
//	    ingress:
//	    - ip: 20.31.4.5
//
// and the events of its controller. Not every controller writes addresses, and a cluster may have none, so a missing address
// is no fault and is waited for only where it is new; a warning of the controller is one when it lasts.
func ingress(i *networkingv1.Ingress, w *World) Status {
	if addresses := i.Status.LoadBalancer.Ingress; len(addresses) > 0 {
		return Status{Ready: true, Message: "at " + cmp.Or(addresses[0].IP, addresses[0].Hostname)}
	}
	p := Problem{
		Reason: "Silent", Message: "no controller has given it an address: is one running for its class?", Heals: Forgiven, Grace: w.Graces.Route,
	}
	spoke := false
	for _, event := range w.eventsOf(i.UID) {
		spoke = true
		if event.Type == corev1.EventTypeWarning {
			p = Problem{Reason: event.Reason, Message: "its controller gives it no address: " + event.Message, Heals: Perhaps, Grace: w.cloudGrace()}
		}
	}
	switch name := classOf(i); {
	case p.Heals == Perhaps:
	case spoke:
		p.Reason, p.Message, p.Grace = "Pending", "its controller has not given it an address yet", max(w.Graces.Route, ingressLimit)
	case w.Before != nil && (w.Before.Unchanged || w.Before.Objects[i.UID] != nil):
		return Status{Ready: true, Message: "has no address, as before"}
	case name != "":
		if class, known := w.find(IngressClasses, "", name); known && class == nil {
			p.Reason, p.Message = "NoClass", fmt.Sprintf("there is no IngressClass %q in the cluster, so perhaps no controller takes it", name)
		}
	}
	return Status{Message: "waits for an address", Problems: []Problem{p}}
}

// classOf returns the name of an Ingress's class, "" for the default one.
func classOf(i *networkingv1.Ingress) string {
	if name := i.Spec.IngressClassName; name != nil {
		return *name
	}
	return i.Annotations["kubernetes.io/ingress.class"]
}
