package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Right is what a caller may do with a resource. Namespace is "" for the whole cluster.
type Right struct{ Namespace, Group, Resource, Verb string }

var accessReviews = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}

// MissingRights returns those of the rights that the caller does not have, in order. Every user may ask that.
func (c *Cluster) MissingRights(ctx context.Context, rights []Right) ([]Right, error) {
	var mu sync.Mutex
	var missing []Right
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(Parallel)
	for _, r := range rights {
		group.Go(func() error {
			allowed, err := c.allowed(ctx, r)
			if err == nil && !allowed {
				mu.Lock()
				missing = append(missing, r)
				mu.Unlock()
			}
			return err
		})
	}
	err := group.Wait()
	slices.SortFunc(missing, func(a, b Right) int {
		return strings.Compare(a.Namespace+" "+a.Group+" "+a.Resource+" "+a.Verb, b.Namespace+" "+b.Group+" "+b.Resource+" "+b.Verb)
	})
	return missing, Explain("asking for this user's rights", err)
}

func (c *Cluster) allowed(ctx context.Context, r Right) (allowed bool, err error) {
	resource, subresource, _ := strings.Cut(r.Resource, "/")
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"namespace": r.Namespace, "group": r.Group, "resource": resource, "subresource": subresource, "verb": r.Verb,
		}},
	}}
	err = c.Retry(ctx, func(ctx context.Context) error {
		answer, err := c.dynamic.Resource(accessReviews).Create(ctx, review, metav1.CreateOptions{})
		if err == nil {
			allowed, _, err = unstructured.NestedBool(answer.Object, "status", "allowed")
		}
		return err
	})
	return allowed, err
}

// Rules writes rights as rules of a Role, one line each. Resources of a group that need the same verbs share a rule.
func Rules(rights []Right) string {
	verbs := map[[2]string][]string{} // by group and resource
	for _, r := range rights {
		key := [2]string{r.Group, r.Resource}
		if !slices.Contains(verbs[key], r.Verb) {
			verbs[key] = append(verbs[key], r.Verb)
		}
	}
	resources := map[[2]string][]string{} // by group and verbs
	for key, v := range verbs {
		slices.Sort(v)
		rule := [2]string{key[0], strings.Join(v, ", ")}
		resources[rule] = append(resources[rule], key[1])
	}
	var lines []string
	for _, rule := range slices.SortedFunc(maps.Keys(resources), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) }) {
		slices.Sort(resources[rule])
		lines = append(lines, fmt.Sprintf("- {apiGroups: [%q], resources: [%s], verbs: [%s]}", rule[0], strings.Join(resources[rule], ", "), rule[1]))
	}
	return strings.Join(lines, "\n")
}

// ClockSkew is how far the API server's clock is ahead of this machine's; 0 before the server has answered.
func (c *Cluster) ClockSkew() time.Duration { return time.Duration(c.clock.ahead.Load()) }
