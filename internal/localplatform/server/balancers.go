//go:build linux

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

// balanceServices does what a cloud does for Services of the type LoadBalancer: it writes their addresses to their status,
// as long as the platform runs. kube-proxy serves the IP address inside the cluster; the host name is the one under which
// serveApps serves each Service on the host.
func (s *supervisor) balanceServices(context.Context) error {
	a, err := s.api()
	if err != nil {
		return err
	}
	go a.watch("/api/v1/services", func(change string, changed json.RawMessage) error {
		var service corev1.Service
		if err := json.Unmarshal(changed, &service); err != nil {
			return err
		}
		addresses := balancerOf(&service)
		if change == "DELETED" || reflect.DeepEqual(addresses, service.Status.LoadBalancer.Ingress) || service.Spec.LoadBalancerClass != nil {
			return nil
		}
		type object = map[string]any
		patch, err := json.Marshal(object{"status": object{"loadBalancer": object{"ingress": addresses}}})
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/api/v1/namespaces/%s/services/%s/status", service.Namespace, service.Name)
		resp, err := a.do(context.Background(), http.MethodPatch, path, "application/merge-patch+json", patch)
		if hasStatus(err, http.StatusNotFound) {
			return nil // it was deleted meanwhile
		}
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return nil
}

// balancerOf returns the addresses of a Service: none unless it asks for a load balancer. Its IP address is that of the
// Service with another network, so that no two are the same.
func balancerOf(service *corev1.Service) []corev1.LoadBalancerIngress {
	ip := net.ParseIP(service.Spec.ClusterIP).To4()
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer || ip == nil {
		return nil
	}
	vip := corev1.LoadBalancerIPModeVIP // the API server's default, so that the status compares as equal
	_, network, err := net.ParseCIDR(balancerCIDR)
	if err != nil {
		return nil
	}
	for i := range ip {
		ip[i] = ip[i]&^network.Mask[i] | network.IP[i]
	}
	return []corev1.LoadBalancerIngress{
		{Hostname: service.Name + "." + service.Namespace + ".localhost"}, {IP: ip.String(), IPMode: &vip},
	}
}
