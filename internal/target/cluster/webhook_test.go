package cluster_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/kube"
)

// hookServer is an admission webhook that allows everything, for https://hook.NAMESPACE.svc, on a port of loopback that answers while
// it is open.
type hookServer struct {
	port int
	ca   string // base64 of PEM
	cert tls.Certificate
	open net.Listener
}

func newHookServer(t *testing.T, namespace string) *hookServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"hook." + namespace + ".svc"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	s := &hookServer{
		ca:   base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
	s.listen(t)
	s.close(t)
	t.Cleanup(func() { _ = s.open.Close() })
	return s
}

func (s *hookServer) listen(t *testing.T) {
	var err error
	s.open, err = net.Listen("tcp", fmt.Sprintf("localhost:%d", s.port))
	require.NoError(t, err)
	s.port = s.open.Addr().(*net.TCPAddr).Port
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(w).Encode(review)
	})}
	server.SetKeepAlivesEnabled(false)
	go func() {
		_ = server.Serve(tls.NewListener(s.open, &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}))
	}()
}

func (s *hookServer) close(t *testing.T) { require.NoError(t, s.open.Close()) }

// operator is an operator with its webhook.
func (s *hookServer) operator(namespace string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: hook}
spec: {type: ExternalName, externalName: localhost, ports: [{port: %[1]d}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[2]s}
webhooks:
- name: lamps.%[2]s.example
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {service: {name: hook, namespace: %[2]s, port: %[1]d, path: /}, caBundle: %[3]s}
  rules: [{apiGroups: [%[2]s.example], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*"]}]
---
`, s.port, namespace, s.ca) + lamps(namespace+".example", "{watts: {type: integer}}") +
		voteManifests[strings.Index(voteManifests, "apiVersion: apps/v1"):] + "---\n"
}

func lamp(group, watts string) string {
	return "apiVersion: " + group + "/v1\nkind: Lamp\nmetadata: {name: one}\nspec: {watts: " + watts + "}\n"
}

// An operator's objects are applied when the webhook that comes with it answers, and a deploy repairs an operator whose webhook is down.
func TestWebhookOfTheRelease(t *testing.T) {
	t.Parallel()
	ctx, c, log := setUp(t, "hooked")
	t.Cleanup(func() {
		_ = testServer(t).Client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), "hooked", metav1.DeleteOptions{})
	})
	server := newHookServer(t, "hooked")
	later := func() {
		time.AfterFunc(3*time.Second, func() { server.listen(t) })
	}
	_, err := c.Deploy(ctx, app(t, "app", "hooked", server.operator("hooked")))
	require.NoError(t, err, log)
	require.Eventually(t, func() bool { // the API server takes a moment until it asks
		_, err := c.Kube().Apply(ctx, manifests(t, strings.Replace(lamp("hooked.example", "1"), "name: one", "name: one, namespace: hooked", 1), "hooked")[0], kube.ApplyOptions{DryRun: true})
		_, failed := kube.FailedWebhook(err)
		return failed
	}, waitFor, tick)
	later()
	_, err = c.Deploy(ctx, app(t, "app", "hooked", server.operator("hooked")+lamp("hooked.example", "5")))
	require.NoError(t, err, log)
	assert.Contains(t, log.String(), "waiting for the webhook of Service/hook, which is of this release")
	server.close(t)

	_, err = c.Diff(ctx, app(t, "app", "hooked", server.operator("hooked")+lamp("hooked.example", "6")))
	require.NoError(t, err, "what the webhook would say is not known yet")
	later()
	_, err = c.Deploy(ctx, app(t, "app", "hooked", server.operator("hooked")+lamp("hooked.example", "6")))
	require.NoError(t, err, log)

	// That of somebody else is not waited for.
	server.close(t)
	began := time.Now()
	other := app(t, "other", "hooked", "apiVersion: hooked.example/v1\nkind: Lamp\nmetadata: {name: two}\n")
	_, err = c.Deploy(ctx, other)
	require.ErrorContains(t, err, `failed calling webhook "lamps.hooked.example"`)
	assert.Less(t, time.Since(began), 20*time.Second)
}
