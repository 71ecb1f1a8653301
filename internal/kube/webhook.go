package kube

import (
	"regexp"

	"k8s.io/apimachinery/pkg/types"
)

// A webhook that cannot be asked, in the API server's words:
//
//	Internal error occurred: failed calling webhook "lamps.example": failed to call webhook: Post "https://lamps.shop.svc:443/validate?timeout=10s": no endpoints available for service "lamps"
//	conversion webhook for example.com/v1, Kind=Lamp failed: Post "https://lamps.shop.svc:443/convert?timeout=30s": dial tcp 10.96.4.1:443: connect: connection refused
var (
	webhookFailed  = regexp.MustCompile(`failed calling webhook|conversion webhook for \S+ Kind=\S+ failed`)
	webhookService = regexp.MustCompile(`"https://([a-z0-9-]+)\.([a-z0-9-]+)\.svc[:/?"]`)
)

// FailedWebhook returns the Service of the admission or conversion webhook that the API server could not ask about an object.
// failed is false when the error is another one, such as a refusal by a webhook.
func FailedWebhook(err error) (service types.NamespacedName, failed bool) {
	if err == nil || !webhookFailed.MatchString(err.Error()) {
		return service, false
	}
	if m := webhookService.FindStringSubmatch(err.Error()); m != nil {
		service = types.NamespacedName{Namespace: m[2], Name: m[1]}
	}
	return service, true
}
