package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/testing/kubetest"
)

// The API server prints the values that do not fit, and those of a Secret must not get into a log.
func TestSchemaErrorOfASecretHasNoValues(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "schema")
	apply := func(text string) error {
		o := kubetest.Decode(t, text)
		_, err := c.Apply(t.Context(), o, kube.ApplyOptions{})
		return kube.Explain(o.GetKind()+"/"+o.GetName(), err)
	}
	err := apply("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: schema}, stringData: {user: 87654321, password: {hush: \"}hush\"}, pin: [hush], right: hush}}")
	require.ErrorContains(t, err, "Secret/a does not fit its schema")
	for _, key := range []string{"user", "password", "pin"} {
		assert.ErrorContains(t, err, ".stringData."+key+": expected string, got another type: put the value in quotes")
	}
	assert.NotContains(t, err.Error(), "hush")
	assert.NotContains(t, err.Error(), "87654321")
	assert.ErrorContains(t, apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: schema}, data: {port: 8080}}"), ".data.port: expected string, got 8080")
}

// kube-controller-manager makes the ServiceAccount of a new namespace, maybe after the first pod has been sent.
func TestPodInANewNamespace(t *testing.T) {
	c, _ := kubetest.Connect(t)
	refusal := func(account string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web", fmt.Errorf("error looking up service account shop/%s: serviceaccount %q not found", account, account))
	}
	tries := 0
	require.NoError(t, c.Retry(t.Context(), func(context.Context) error {
		if tries++; tries < 3 {
			return refusal("default")
		}
		return nil
	}))
	assert.Equal(t, 3, tries)
	require.ErrorContains(t, c.Retry(t.Context(), func(context.Context) error { return refusal("web") }), `serviceaccount "web" not found`)
}

func TestRefusalWithoutAField(t *testing.T) {
	refusal := func(causes ...metav1.StatusCause) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Details: &metav1.StatusDetails{Causes: causes}}}
	}
	policy := metav1.StatusCause{Message: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: at most two replicas"}
	assert.EqualError(t, kube.Explain("Deployment/web", refusal(policy)), "Deployment/web is refused: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: at most two replicas")
	assert.EqualError(t, kube.Explain("Deployment/web", refusal(metav1.StatusCause{Field: "spec.replicas", Message: "must be positive"}, metav1.StatusCause{Message: "and so on"})),
		"Deployment/web is not valid: spec.replicas: must be positive; and so on")
}

func TestKindInAnotherVersion(t *testing.T) {
	c, _ := kubetest.Connect(t)
	for kind, want := range map[schema.GroupVersionKind]string{
		{Group: "policy", Version: "v1beta1", Kind: "PodDisruptionBudget"}: "the cluster knows no PodDisruptionBudget in policy/v1beta1, but in policy/v1: correct apiVersion",
		{Version: "v1", Kind: "Deployment"}:                                "the cluster knows no Deployment in v1, but in apps/v1: correct apiVersion",
		{Group: "apps", Version: "v1", Kind: "deployment"}:                 "the cluster knows no deployment, but Deployment in apps/v1: correct kind, whose letters count",
		{Group: "example.com", Version: "v1", Kind: "Lamp"}:                "the cluster knows no Lamp in example.com/v1: correct apiVersion and kind, or install the CustomResourceDefinition first",
	} {
		_, err := c.Mapping(t.Context(), kind)
		assert.EqualError(t, err, want)
	}
}

func TestFailedWebhook(t *testing.T) {
	for message, want := range map[string]types.NamespacedName{
		`Internal error occurred: failed calling webhook "l": failed to call webhook: Post "https://hook.shop.svc:443/v?timeout=10s": no endpoints available for service "hook"`: {Namespace: "shop", Name: "hook"},
		`conversion webhook for example.com/v1, Kind=Lamp failed: Post "https://hook.shop.svc:443/convert?timeout=30s": dial tcp 10.96.4.1:443: connect: connection refused`:     {Namespace: "shop", Name: "hook"},
		`Internal error occurred: failed calling webhook "l": failed to call webhook: Post "https://hooks.example.com/v": dial tcp: no such host`:                                {},
	} {
		service, failed := kube.FailedWebhook(errors.New(message))
		assert.True(t, failed, message)
		assert.Equal(t, want, service, message)
	}
	_, failed := kube.FailedWebhook(errors.New(`admission webhook "l" denied the request: no`))
	assert.False(t, failed)
	_, failed = kube.FailedWebhook(nil)
	assert.False(t, failed)
}

// An object that was not changed is not written again: what refused the change would refuse that, too.
func TestPutBackOfWhatWasNeverChanged(t *testing.T) {
	c, client := kubetest.Connect(t)
	kubetest.Namespace(t, client, "putback")
	o := kubetest.Decode(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: putback}, data: {a: b}}")
	before, err := c.Apply(t.Context(), o, kube.ApplyOptions{})
	require.NoError(t, err)
	bad := before.DeepCopy()
	require.NoError(t, unstructured.SetNestedField(bad.Object, "b", "data", "not a key"))
	require.NoError(t, c.PutBack(t.Context(), bad, false), "it would be refused")
}
