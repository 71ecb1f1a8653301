package cluster

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

const (
	// webhookLimit is how long a webhook of the release may take to answer after the release's workloads are ready: its Service
	// learns of them, and its certificate may be written by a controller.
	webhookLimit = 30 * time.Second
	webhookRetry = 500 * time.Millisecond
)

// brings reports whether the release itself brings what the API server lacked when it refused an object: the object's kind, its
// schema, or the webhook that is to be asked about it.
func brings(objects []*unstructured.Unstructured, o *unstructured.Unstructured, refusal error) bool {
	if _, defined := plan.DefinedKinds(objects)[o.GroupVersionKind().GroupKind()]; defined && (kube.IsMissing(refusal) || kube.DoesNotFit(refusal)) {
		return true
	}
	return servesWebhook(objects, refusal)
}

// servesWebhook reports whether a refusal is about a webhook that cannot be asked and whose Service is among objects.
func servesWebhook(objects []*unstructured.Unstructured, refusal error) bool {
	service, failed := kube.FailedWebhook(refusal)
	if !failed {
		return false
	}
	for _, o := range objects {
		if plan.StageOf(o.GroupVersionKind().GroupKind()) == plan.Services && o.GetName() == service.Name && o.GetNamespace() == service.Namespace {
			return true
		}
	}
	return false
}

// afterWebhook calls send, and as long as a webhook of the release itself cannot be asked, again: when the release's workloads are
// ready, and then for up to webhookLimit.
func (t *transaction) afterWebhook(ctx context.Context, name string, send func() error) error {
	err := send()
	if !servesWebhook(t.objects, err) {
		return err
	}
	service, _ := kube.FailedWebhook(err)
	report.Waitf(ctx, name, "waiting for the webhook of Service/%s, which is of this release", service.Name)
	if failed := t.awaitWorkloads(ctx); failed != nil {
		return failed
	}
	for began := time.Now(); servesWebhook(t.objects, err) && time.Since(began) < webhookLimit; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(webhookRetry):
		}
		err = send()
	}
	return err
}

// awaitWorkloads returns when the workloads that were applied so far are ready.
func (t *transaction) awaitWorkloads(ctx context.Context) error {
	t.waiting.Lock() // many objects may need the same webhook
	defer t.waiting.Unlock()
	var workloads []*unstructured.Unstructured
	for _, o := range t.AppliedObjects() {
		if stage := plan.StageOf(o.GroupVersionKind().GroupKind()); stage == plan.Data || stage == plan.Workloads {
			workloads = append(workloads, o)
		}
	}
	return watch.Await(ctx, t.cluster.kube, workloads, t.watchOptions())
}
