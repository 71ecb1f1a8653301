package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target"
)

var _ target.Checker = Target{}

// Check implements target.Checker: the manifests render, the cluster answers and knows their kinds, and the user has the
// rights that a deploy needs.
func (t Target) Check(ctx context.Context, r delivery.Release, o target.Options) []delivery.Check {
	var checks []delivery.Check
	add := func(name, message string, err error) bool {
		checks = append(checks, delivery.NewCheck(name, message, err))
		return err == nil
	}
	options := renderOptions(r, o)
	release := releaseOf(r, o)
	chart := render.IsChart(r.Env.Manifests)
	if !chart {
		var err error
		release.Objects, err = render.Render(ctx, r.Env.Manifests, options)
		add("manifests", report.Count(len(release.Objects), "object")+" in "+r.Env.Manifests, err)
	}
	c, err := connect(ctx, r.Env)
	if err != nil {
		add("cluster", "", err)
		return checks
	}
	checks = append(checks, delivery.Passed("cluster", c.kube.Host()+" answers, Kubernetes "+c.kube.Version()), checkClock(c.kube.ClockSkew()))
	if chart {
		release.Objects, err = c.Render(ctx, r.Env.App, r.Env.Manifests, options)
		add("manifests", report.Count(len(release.Objects), "object")+" of the chart "+r.Env.Manifests, err)
	}
	return append(checks, c.checkRelease(ctx, release)...)
}

// checkClock compares the clocks, since tokens are refused by one that is some minutes off.
func checkClock(ahead time.Duration) delivery.Check {
	const most = time.Minute
	c := delivery.Passed("clock", "this machine's clock agrees with the API server's")
	if ahead.Abs() > most {
		c.Status, c.Message = delivery.CheckWarning, fmt.Sprintf("this machine's clock is %s away from the API server's", report.Span(ahead.Abs().Round(time.Second)))
		c.Remedy = "set it: logins are refused when they seem to be from another time"
	}
	return c
}

// checkRelease checks namespaces, kinds and rights.
func (c *Cluster) checkRelease(ctx context.Context, r Release) []delivery.Check {
	var checks []delivery.Check
	objects, err := c.normalize(ctx, &r)
	if err != nil {
		return append(checks, delivery.NewCheck("kinds", "", err))
	}
	checks = append(checks, delivery.Passed("kinds", "the cluster knows all that are in the manifests"))
	missing, err := c.missingNamespaces(ctx, objects, r)
	if err != nil {
		checks = append(checks, delivery.NewCheck("namespace", "", err))
	} else if len(missing) > 0 {
		checks = append(checks, delivery.Check{
			Name: "namespace", Status: delivery.CheckFailed, Message: "not in the cluster, and not among the manifests: " + strings.Join(missing, ", "),
			Remedy: "kubectl create namespace " + missing[0],
		})
	} else {
		checks = append(checks, delivery.Passed("namespace", r.Namespace))
	}
	needed, err := c.rights(ctx, objects, r)
	if err != nil {
		return append(checks, delivery.NewCheck("rights", "", err))
	}
	lacking, err := c.kube.MissingRights(ctx, needed)
	return append(checks, checkRights(lacking, len(needed), err)...)
}

// missingNamespaces returns the namespaces of objects that the cluster has not, and that do not come with the release.
func (c *Cluster) missingNamespaces(ctx context.Context, objects []*unstructured.Unstructured, r Release) ([]string, error) {
	wanted := map[string]bool{r.Namespace: true}
	for _, o := range objects {
		if o.GetNamespace() != "" {
			wanted[o.GetNamespace()] = true
		}
	}
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			delete(wanted, o.GetName())
		}
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		found, err := c.kube.Get(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "", name)
		var refused *kube.PermissionError
		switch err = kube.Explain("Namespace/"+name, err); {
		case errors.As(err, &refused): // to deploy into it does not need this
		case err != nil:
			return nil, err
		case found == nil:
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// rights are those that a deploy needs. Package manifests/rbac holds them as a Role.
func (c *Cluster) rights(ctx context.Context, objects []*unstructured.Unstructured, r Release) ([]kube.Right, error) {
	needed := map[kube.Right]bool{}
	need := func(namespace, group, resource string, verbs ...string) {
		for _, verb := range verbs {
			needed[kube.Right{Namespace: namespace, Group: group, Resource: resource, Verb: verb}] = true
		}
	}
	// The record of the deploys, and the lock.
	need(r.Namespace, "", "configmaps", "get", "list", "create", "patch")
	need(r.Namespace, "", "secrets", "get", "list", "create", "patch", "delete")
	need(r.Namespace, "coordination.k8s.io", "leases", "get", "create", "update")
	for _, o := range objects {
		mapping, err := c.kube.Mapping(ctx, o.GroupVersionKind())
		if err != nil {
			if _, defined := plan.DefinedKinds(objects)[o.GroupVersionKind().GroupKind()]; defined {
				continue // the kind comes with the release
			}
			return nil, err
		}
		namespace := o.GetNamespace()
		need(namespace, mapping.Resource.Group, mapping.Resource.Resource, "get", "list", "watch", "create", "patch", "update", "delete")
		switch o.GetKind() {
		case "Deployment":
			need(namespace, "apps", "replicasets", "get", "list", "watch", "patch", "delete")
			fallthrough
		case "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "Pod":
			need(namespace, "", "pods", "get", "list", "watch")
			need(namespace, "", "events", "get", "list", "watch")
			need(namespace, "", "pods/log", "get")
		}
	}
	if len(r.Strategy.Smoke) > 0 {
		need(r.Namespace, "", "services/proxy", "get")
	}
	return slices.Collect(maps.Keys(needed)), nil
}

// checkRights says which rights are missing, as the rules that grant them: one check for each namespace.
func checkRights(missing []kube.Right, needed int, err error) []delivery.Check {
	if err != nil || len(missing) == 0 {
		return []delivery.Check{delivery.NewCheck("rights", "this user has all "+report.Count(needed, "right")+" that a deploy needs", err)}
	}
	byNamespace := map[string][]kube.Right{}
	for _, r := range missing {
		byNamespace[r.Namespace] = append(byNamespace[r.Namespace], r)
	}
	var checks []delivery.Check
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		where, kind := "in the namespace "+namespace, "Role"
		if namespace == "" {
			where, kind = "in the cluster", "ClusterRole"
		}
		rights := byNamespace[namespace]
		checks = append(checks, delivery.Check{
			Name: "rights", Status: delivery.CheckFailed,
			Message: fmt.Sprintf("%s, which a deploy needs, are missing %s", report.Count(len(rights), "right"), where),
			Remedy:  fmt.Sprintf("add to this user's %s:\n%s", kind, kube.Rules(rights)),
		})
	}
	return checks
}
