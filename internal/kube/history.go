package kube

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
)

// Revision is one recorded deploy of an app.
type Revision struct {
	Number         int            `json:"number"`
	Status         RevisionStatus `json:"status"`
	Image          string         `json:"image,omitempty"`
	SourceRevision string         `json:"sourceRevision,omitempty"`
	RunURL         string         `json:"runURL,omitempty"`
	User           string         `json:"user"`
	Time           time.Time      `json:"time"`
	// Message says why it failed, or what it is held for.
	Message string `json:"message,omitempty"`
	// Left reports that what a failed deploy changed is still there: the revision before was not put back.
	Left bool `json:"left,omitempty"`

	// Namespaces and Strategy are what is needed to go on with a held revision. Strategy is the caller's own.
	Namespaces []string        `json:"namespaces,omitempty"`
	Strategy   json.RawMessage `json:"strategy,omitempty"`
	// Manifests is the digest of the objects as they were rendered, and Upgrade reports that the app was deployed before.
	// A chart that renders the same for both is not a new revision.
	Manifests string `json:"manifests,omitempty"`
	Upgrade   bool   `json:"upgrade,omitempty"`
	// Parts is the number of Secrets that hold the objects.
	Parts int `json:"parts"`
}

// RevisionStatus is what became of a revision.
type RevisionStatus string

// The statuses of a revision. At most one is deployed, and at most one is held.
const (
	RevisionPending    RevisionStatus = "pending" // or its deploy was killed
	RevisionDeployed   RevisionStatus = "deployed"
	RevisionSuperseded RevisionStatus = "superseded"
	RevisionFailed     RevisionStatus = "failed"
	RevisionHeld       RevisionStatus = "held"
)

const (
	recordType  = corev1.SecretType("aksflow.dev/revision")
	labelApp    = AnnotationPrefix + "app"
	labelNumber = AnnotationPrefix + "revision"
	keyRecord   = "record"
	keyObjects  = "objects" // gzip of a JSON array

	// partSize keeps each Secret below the API server's limit of 1 MiB.
	partSize = 900_000
)

func recordName(app string, number, part int) string {
	name := fmt.Sprintf("%s-%s.v%d", Manager, app, number)
	if part > 0 {
		name += "." + strconv.Itoa(part)
	}
	return name
}

// History returns an app's recorded revisions, the newest first.
func (c *Cluster) History(ctx context.Context, app, namespace string) ([]Revision, error) {
	var revisions []Revision
	options := metav1.ListOptions{LabelSelector: labelApp + "=" + app}
	var list *corev1.SecretList
	err := c.Retry(ctx, func(ctx context.Context) (err error) {
		list, err = c.core.Secrets(namespace).List(ctx, options)
		return err
	})
	if err != nil {
		return nil, Explain("the records of "+app, err)
	}
	for _, secret := range list.Items {
		data, ok := secret.Data[keyRecord]
		if secret.Type != recordType || !ok {
			continue
		}
		var revision Revision
		if err := json.Unmarshal(data, &revision); err != nil {
			return nil, fmt.Errorf("the record Secret/%s is broken: %w", secret.Name, err)
		}
		revisions = append(revisions, revision)
	}
	slices.SortFunc(revisions, func(a, b Revision) int { return cmp.Compare(b.Number, a.Number) })
	return revisions, nil
}

// Latest returns the newest revision of a status, or nil.
func Latest(revisions []Revision, status RevisionStatus) *Revision {
	for i := range revisions {
		if revisions[i].Status == status {
			return &revisions[i]
		}
	}
	return nil
}

// WriteRevision records a revision with its objects; nil objects leave those that are recorded.
func (c *Cluster) WriteRevision(ctx context.Context, app, namespace string, revision *Revision, objects []*unstructured.Unstructured) error {
	var parts [][]byte
	if objects != nil {
		data, err := compress(objects)
		if err != nil {
			return err
		}
		parts = slices.Collect(slices.Chunk(data, partSize))
		revision.Parts = len(parts)
	}
	record, err := json.Marshal(revision)
	if err != nil {
		return err
	}
	labels := map[string]string{labelApp: app, labelNumber: strconv.Itoa(revision.Number), "app.kubernetes.io/managed-by": Manager}
	write := func(name, manager string, data map[string][]byte) error {
		secret := corev1apply.Secret(name, namespace).WithLabels(labels).WithType(recordType).WithData(data)
		err := c.write(ctx, func(ctx context.Context) error {
			_, err := c.core.Secrets(namespace).Apply(ctx, secret, metav1.ApplyOptions{FieldManager: manager, Force: true})
			return err
		})
		return Explain("Secret/"+name, err)
	}
	// The objects have a manager of their own, so that a later change of the record leaves them as they are.
	for i, part := range parts {
		if err := write(recordName(app, revision.Number, i), Manager+"-objects", map[string][]byte{keyObjects: part}); err != nil {
			return err
		}
	}
	return write(recordName(app, revision.Number, 0), Manager, map[string][]byte{keyRecord: record})
}

// ReadObjects returns the objects of a recorded revision.
func (c *Cluster) ReadObjects(ctx context.Context, app, namespace string, revision *Revision) ([]*unstructured.Unstructured, error) {
	var data []byte
	for part := range revision.Parts {
		name := recordName(app, revision.Number, part)
		var secret *corev1.Secret
		err := c.Retry(ctx, func(ctx context.Context) (err error) {
			secret, err = c.core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
			return err
		})
		if err != nil {
			return nil, Explain("Secret/"+name, err)
		}
		data = append(data, secret.Data[keyObjects]...)
	}
	objects, err := decompress(data)
	if err != nil {
		return nil, fmt.Errorf("the record of revision %d of %s is broken: %w", revision.Number, app, err)
	}
	return objects, nil
}

// KeepNone makes [Cluster.TrimHistory] delete all records.
const KeepNone = -1

// TrimHistory deletes the oldest records beyond keep, but not the deployed and the held revision.
func (c *Cluster) TrimHistory(ctx context.Context, app, namespace string, revisions []Revision, keep int) error {
	for i, revision := range revisions {
		needed := revision.Status == RevisionDeployed || revision.Status == RevisionHeld
		if keep != KeepNone && (i < keep || needed) {
			continue
		}
		for part := range max(revision.Parts, 1) {
			name := recordName(app, revision.Number, part)
			err := c.write(ctx, func(ctx context.Context) error {
				return c.core.Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{})
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return Explain("Secret/"+name, err)
			}
		}
	}
	return nil
}

func compress(objects []*unstructured.Unstructured) ([]byte, error) {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	if err := json.NewEncoder(writer).Encode(objects); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func decompress(data []byte) ([]*unstructured.Unstructured, error) {
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	return objects, json.Unmarshal(text, &objects)
}
