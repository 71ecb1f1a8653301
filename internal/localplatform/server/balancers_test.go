//go:build linux

package server

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestBalancerOf(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.7.9"},
	}
	got := balancerOf(service)
	if len(got) != 2 || got[0].Hostname != "web.shop.localhost" || got[1].IP != "10.97.7.9" {
		t.Errorf("a load balancer's addresses: %+v", got)
	}
	for _, change := range []func(*corev1.ServiceSpec){
		func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeClusterIP },
		func(s *corev1.ServiceSpec) { s.ClusterIP = "" }, // not given yet
	} {
		other := service.DeepCopy()
		change(&other.Spec)
		if got := balancerOf(other); got != nil {
			t.Errorf("%+v has the addresses %+v", other.Spec, got)
		}
	}
}
