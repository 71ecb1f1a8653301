package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// isConnection reports whether a request got no answer at all.
func isConnection(err error) bool {
	if err == nil || apierrors.ReasonForError(err) != metav1.StatusReasonUnknown {
		return false
	}
	text := err.Error()
	if strings.Contains(text, "x509:") || strings.Contains(text, "getting credentials") {
		return false
	}
	var u *url.Error
	var n net.Error
	return errors.As(err, &u) || errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || strings.Contains(text, "client connection lost") || strings.Contains(text, "http2: ")
}

// isTransient reports whether the API server answered that it cannot answer now.
func isTransient(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTimeout(err) ||
		apierrors.IsForbidden(err) && strings.Contains(err.Error(), youngNamespace) ||
		apierrors.IsInternalError(err) && !strings.Contains(err.Error(), "webhook") && !isSchema(err.Error()) ||
		err != nil && strings.Contains(err.Error(), "etcdserver: ") && !strings.Contains(err.Error(), "request is too large")
}

// youngNamespace is how the API server refuses a pod in a namespace whose ServiceAccount kube-controller-manager has not made
// yet.
const youngNamespace = `serviceaccount "default" not found`

// DoesNotFit reports whether an object was refused since it does not fit the schema of its kind.
func DoesNotFit(err error) bool { return err != nil && isSchema(err.Error()) }

// isSchema reports whether a message is about an object that does not fit its schema. The API server calls that an internal
// error.
func isSchema(message string) bool {
	return strings.Contains(message, "failed to create typed patch object") || strings.Contains(message, lastAppliedVersion)
}

// lastAppliedVersion is what the API server says when it cannot express an object in the version of the API in which it was applied
// last:
//
//	failed to prune fields: failed to convert merged object to last applied version: .spec.color: field not declared in schema
const lastAppliedVersion = "failed to convert merged object to last applied version"

// OtherVersion reports whether an apply failed since the object was applied in another version of its API before, which does not
// have one of its fields: see [Cluster.MoveFields].
func OtherVersion(err error) bool {
	return err != nil && strings.Contains(err.Error(), lastAppliedVersion)
}

// goValue is how the API server writes a value of the wrong type: expected string, got &value.valueUnstructured{Value:true}.
var goValue = regexp.MustCompile(`&value\.valueUnstructured\{Value:([^}]*)\}`)

// secretValue is the same in an answer about a Secret, whose values may be anything. It ends before the next field, or with the
// message.
var secretValue = regexp.MustCompile(`(?s), got &value\.valueUnstructured\{.*?\}(\n  \.|\s*$)`)

// secretRef is a ref that names a Secret.
var secretRef = regexp.MustCompile(`(^|\s)Secret/`)

// schemaAnswer returns what the API server says of an object that does not fit its schema, without the values of a Secret.
func schemaAnswer(ref, message string) string {
	message = afterColon(message, "): ")
	if secretRef.MatchString(ref) {
		message = secretValue.ReplaceAllString(message, ", got another type: put the value in quotes$1")
	}
	return goValue.ReplaceAllString(message, "$1")
}

// forbiddenPattern reads
//
//	User "vote-deployer" cannot patch resource "deployments" in API group "apps" in the namespace "vote-dev"
var forbiddenPattern = regexp.MustCompile(`User "([^"]+)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?`)

// Explain turns the API server's answer to a request about ref, the object or kind that it was about, into an error that
// ends in a remedy. It returns nil for nil.
func Explain(ref string, err error) error {
	var status apierrors.APIStatus
	var immutable *ImmutableError
	var terminating *TerminatingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &immutable), errors.As(err, &terminating):
		return fmt.Errorf("%s: %w", ref, err)
	case isConnection(err):
		return fmt.Errorf("%s: no answer from the API server: %w", ref, rootCause(err))
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: %w", ref, unknownKind(err))
	case !errors.As(err, &status):
		return fmt.Errorf("%s: %w", ref, err)
	}
	answer := status.Status()
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the API server does not accept the credentials any more: they have expired or were revoked", ref)
	case apierrors.IsForbidden(err):
		if m := forbiddenPattern.FindStringSubmatch(answer.Message); m != nil {
			return fmt.Errorf("%s: %w", ref, &PermissionError{User: m[1], Verb: m[2], Resource: m[3], Group: m[4], Namespace: m[5]})
		}
		return fmt.Errorf("%s is refused: %s", ref, afterColon(answer.Message, "is forbidden: "))
	case apierrors.IsConflict(err):
		return conflict(ref, answer)
	case apierrors.IsRequestEntityTooLargeError(err), strings.Contains(answer.Message, "request is too large"), strings.Contains(answer.Message, "Too long: may not be more than"):
		return fmt.Errorf("%s is too large for the API server: split it, or keep the data outside the cluster (%s)", ref, answer.Message)
	case apierrors.IsInvalid(err):
		return invalid(ref, answer)
	case isSchema(answer.Message):
		return fmt.Errorf("%s does not fit its schema: %s", ref, schemaAnswer(ref, answer.Message))
	}
	return fmt.Errorf("%s: %s", ref, answer.Message)
}

func afterColon(message, marker string) string {
	if _, rest, ok := strings.Cut(message, marker); ok {
		return rest
	}
	return message
}

// UnknownKindError reports that the cluster does not know a kind.
type UnknownKindError struct {
	Kind schema.GroupKind
	// Versions are those that were asked for; empty means any.
	Versions []string
	// served asks in which API versions there is such a kind, and how it is spelled there; may be nil.
	served func() (kind string, versions []string)
}

func (e *UnknownKindError) Error() string {
	if e.served != nil {
		kind, there := e.served()
		if kind != e.Kind.Kind && len(there) > 0 {
			return fmt.Sprintf("the cluster knows no %s, but %s in %s: correct kind, whose letters count", e.Kind.Kind, kind, strings.Join(there, ", "))
		}
		if len(there) > 0 {
			return fmt.Sprintf("the cluster knows no %s in %s, but in %s: correct apiVersion", e.Kind.Kind, groupText(e.Kind, e.Versions), strings.Join(there, ", "))
		}
	}
	return fmt.Sprintf("the cluster knows no %s in %s: correct apiVersion and kind, or install the CustomResourceDefinition first", e.Kind.Kind, groupText(e.Kind, e.Versions))
}

func unknownKind(err error) error {
	var no *meta.NoKindMatchError
	if errors.As(err, &no) {
		return &UnknownKindError{Kind: no.GroupKind, Versions: no.SearchedVersions}
	}
	return err
}

func groupText(kind schema.GroupKind, versions []string) string {
	version := strings.Join(versions, ", ")
	if kind.Group == "" {
		return version
	}
	return strings.TrimSuffix(kind.Group+"/"+version, "/")
}

// PermissionError reports a right that the user of the kubeconfig lacks.
type PermissionError struct{ User, Verb, Resource, Group, Namespace string }

// Error ends in the rule that grants the right.
func (e *PermissionError) Error() string {
	where, kind := "in the cluster", "ClusterRole"
	if e.Namespace != "" {
		where, kind = "in the namespace "+e.Namespace, "Role"
	}
	group := e.Group
	if group == "" {
		group = "the core group"
	}
	return fmt.Sprintf(`%s may not %s %s of %s %s: add to its %s: - {apiGroups: [%q], resources: [%q], verbs: [%q]}`,
		e.User, e.Verb, e.Resource, group, where, kind, e.Group, e.Resource, e.Verb)
}

// conflictPattern reads
//
//	Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas
var conflictPattern = regexp.MustCompile(`conflict with "([^"]+)"`)

func conflict(ref string, answer metav1.Status) error {
	var owned []string
	if answer.Details != nil {
		for _, cause := range answer.Details.Causes {
			if cause.Type != metav1.CauseTypeFieldManagerConflict {
				continue
			}
			manager := "another manager"
			if m := conflictPattern.FindStringSubmatch(cause.Message); m != nil {
				manager = m[1]
			}
			owned = append(owned, fmt.Sprintf("%s is owned by %s", strings.TrimPrefix(cause.Field, "."), manager))
		}
	}
	if len(owned) == 0 {
		return fmt.Errorf("%s was changed by someone else in the same moment: deploy again (%s)", ref, answer.Message)
	}
	return fmt.Errorf("%s: %s: leave the field out of the manifests, or take it over with --force-conflicts", ref, strings.Join(owned, "; "))
}

func invalid(ref string, answer metav1.Status) error {
	if answer.Details == nil || len(answer.Details.Causes) == 0 {
		return fmt.Errorf("%s is not valid: %s", ref, answer.Message)
	}
	var wrong []string
	verdict := "is refused" // by an admission policy, which names no field
	for _, cause := range answer.Details.Causes {
		text := cause.Message
		if cause.Field != "" {
			text, verdict = cause.Field+": "+text, "is not valid"
		}
		wrong = append(wrong, text)
	}
	return fmt.Errorf("%s %s: %s", ref, verdict, strings.Join(wrong, "; "))
}

// ImmutableError reports an object that cannot be changed in place.
type ImmutableError struct {
	// Reason is the API server's own.
	Reason error
	// Remedy says what to do.
	Remedy string
	// Fields are what cannot be changed; nil for those that Reason names.
	Fields []string
}

// Error names the fields as the API server does, and the remedy.
func (e *ImmutableError) Error() string {
	what, fields := e.Reason.Error(), e.Fields
	if fields == nil {
		fields = InvalidFields(e.Reason)
	}
	if len(fields) > 0 {
		what = strings.Join(fields, ", ") + " cannot be changed on an object that exists"
	}
	return what + ": " + e.Remedy
}

// Unwrap returns the API server's error.
func (e *ImmutableError) Unwrap() error { return e.Reason }

// InvalidFields returns the fields, as dotted paths, that the API server refused as invalid. It returns nil for any other
// error.
func InvalidFields(err error) []string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusUnprocessableEntity || status.Status().Details == nil {
		return nil
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "" && !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return fields
}

// SaysImmutable reports whether an apply was refused in words that are known to mean a field that cannot be changed in
// place. It is for kinds that cannot be tried under another name: see [Cluster.AcceptsNew].
func SaysImmutable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusUnprocessableEntity || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool {
		return slices.ContainsFunc(immutableWords, func(words string) bool { return strings.Contains(cause.Message, words) })
	})
}

var immutableWords = []string{
	"field is immutable", "may not change once set", "updates to statefulset spec for fields other than",
	"pod updates may not change fields other than", "spec is immutable after creation", "cannot be changed", "may not be changed",
}
