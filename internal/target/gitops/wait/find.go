package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// nameIt is the remedy for whatever is not found, or found twice.
const nameIt = "name it with gitops.application and gitops.namespace in aksflow.yaml"

// find returns the operator for the object that is named, or that follows the repository.
func (c *clusterView) find(ctx context.Context, o Options) (operator, error) {
	var tried []string
	var reasons []error
	for _, known := range []struct {
		operator string
		kind     schema.GroupVersionKind
		find     func(context.Context, Options) (operator, error)
	}{{ArgoCD, applicationKind, c.findApplication}, {Flux, kustomizationKind, c.findFlux}} {
		if o.Operator != "" && o.Operator != known.operator {
			continue
		}
		tried = append(tried, known.kind.Kind)
		found, err := known.find(ctx, o)
		switch {
		case err == nil && found != nil:
			return found, nil
		case err != nil && kube.IsMissing(err) && o.Operator == "":
			// The cluster does not have this operator.
		case err != nil && kube.IsMissing(err):
			return nil, fmt.Errorf("the cluster %s knows no %s: check that %s is installed there, and that gitops.operator names the right one", c.cluster.Host(), known.kind.Kind, o.operatorName())
		case err != nil:
			reasons = append(reasons, err)
		}
	}
	if len(tried) == 0 {
		return nil, fault.Usagef("operator %q is not known: want %s or %s", o.Operator, ArgoCD, Flux)
	}
	if len(reasons) > 0 {
		return nil, errors.Join(reasons...)
	}
	if o.Name != "" {
		return nil, fmt.Errorf("there is no %s %s in %s: check gitops.application and gitops.namespace in aksflow.yaml", strings.Join(tried, " or "), o.title(), c.cluster.Host())
	}
	return nil, fmt.Errorf("no %s in %s follows path %s of %s: create it, or %s", strings.Join(tried, " or "), c.cluster.Host(), plainPath(o.Path), o.RepoURL, nameIt)
}

// title is NAMESPACE/NAME, as far as it is given.
func (o Options) title() string { return strings.TrimPrefix(o.Namespace+"/"+o.Name, "/") }

func (o Options) operatorName() string {
	return map[string]string{ArgoCD: "Argo CD", Flux: "Flux"}[o.Operator]
}

// candidates lists the objects of a kind, or gets the one that is named.
func (c *clusterView) candidates(ctx context.Context, kind schema.GroupVersionKind, o Options) ([]*unstructured.Unstructured, error) {
	if o.Name != "" && o.Namespace != "" {
		object, err := c.cluster.Get(ctx, kind, o.Namespace, o.Name)
		if object == nil {
			return nil, explain(kind.Kind+" "+o.title(), err)
		}
		return []*unstructured.Unstructured{object}, nil
	}
	options := metav1.ListOptions{}
	if o.Name != "" {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", o.Name).String()
	}
	list, err := c.cluster.List(ctx, kind, o.Namespace, options)
	return list, explain("finding the "+kind.Kind, err)
}

// explain keeps what says that a kind is missing, for find.
func explain(doing string, err error) error {
	if err == nil || kube.IsMissing(err) {
		return err
	}
	return kube.Explain(doing, err)
}

func (c *clusterView) findApplication(ctx context.Context, o Options) (operator, error) {
	apps, err := c.candidates(ctx, applicationKind, o)
	if err != nil {
		return nil, err
	}
	found := nearest(apps, o, o.nearestApplication)
	if set, several := commonSet(found); several && o.Name == "" {
		return c.applicationSet(set, o.nearAs(found)), nil
	}
	app, err := only(found, applicationKind.Kind)
	if app == nil && err == nil {
		return c.findApplicationSet(ctx, o)
	}
	if app == nil {
		return nil, err
	}
	return c.application(applicationOf(app)), nil
}

func (c *clusterView) findFlux(ctx context.Context, o Options) (operator, error) {
	kustomizations, err := c.candidates(ctx, kustomizationKind, o)
	if err != nil {
		return nil, err
	}
	found := map[watch.Object]*unstructured.Unstructured{} // the sources
	var problem error
	k, err := one(kustomizations, kustomizationKind.Kind, o, func(k *unstructured.Unstructured) int {
		near := near(field(k, "spec", "path"), o.Path)
		if near < 0 {
			return near
		}
		source := sourceOf(k)
		if source.Kind != gitRepositoryKind {
			if near > 1 { // more than a common root
				problem = errors.Join(problem, notFollowed(k, source))
			}
			return -1
		}
		if _, known := found[source]; !known {
			repository, err := c.cluster.Get(ctx, source.Kind, source.Namespace, source.Name)
			if err != nil {
				problem = errors.Join(problem, kube.Explain(source.String(), err))
			}
			found[source] = repository
		}
		if !c.follows(found[source]) {
			return -1
		}
		return near
	})
	switch {
	case err != nil:
		return nil, err
	case k != nil:
		return c.kustomization(ctx, k)
	case o.Name != "":
		return c.findHelmRelease(ctx, o)
	}
	return nil, problem
}

// follows reports whether a GitRepository follows the repository and the branch.
func (c *clusterView) follows(source *unstructured.Unstructured) bool {
	if source == nil || !git.SameRepository(field(source, "spec", "url"), c.RepoURL) {
		return false
	}
	branch := git.BranchName(field(source, "spec", "ref", "branch"))
	if name := field(source, "spec", "ref", "name"); name != "" {
		branch = git.BranchName(name)
	}
	return c.Branch == "" || branch == "" || branch == c.Branch
}

func sourceOf(k *unstructured.Unstructured) watch.Object {
	kind := gitRepositoryKind
	kind.Kind = field(k, "spec", "sourceRef", "kind")
	namespace := field(k, "spec", "sourceRef", "namespace")
	if namespace == "" {
		namespace = k.GetNamespace()
	}
	return watch.Object{Kind: kind, Namespace: namespace, Name: field(k, "spec", "sourceRef", "name")}
}

func notFollowed(k *unstructured.Unstructured, source watch.Object) error {
	return fmt.Errorf("Kustomization %s/%s is made from the %s %s, and aksflow can follow a GitRepository only: wait with `flux get kustomization %s`, or let it follow the git repository",
		k.GetNamespace(), k.GetName(), source.Kind.Kind, source.Name, k.GetName())
}

// kustomization returns the operator for a Kustomization.
func (c *clusterView) kustomization(ctx context.Context, k *unstructured.Unstructured) (operator, error) {
	source := sourceOf(k)
	if source.Kind != gitRepositoryKind {
		return nil, notFollowed(k, source)
	}
	repository, err := c.cluster.Get(ctx, source.Kind, source.Namespace, source.Name)
	if err != nil {
		return nil, kube.Explain(source.String(), err)
	}
	if repository == nil {
		return nil, fmt.Errorf("Kustomization %s/%s is made from GitRepository %s, which is not there: create it", k.GetNamespace(), k.GetName(), source.Name)
	}
	object := watch.Object{Kind: kustomizationKind, Namespace: k.GetNamespace(), Name: k.GetName()}
	return &fluxKustomization{fluxObject: c.fluxObject(object), source: source, ours: c.RepoURL == "" || git.SameRepository(field(repository, "spec", "url"), c.RepoURL)}, nil
}

// findHelmRelease returns the Kustomization that has applied the HelmRelease that is named, and follows that one only.
func (c *clusterView) findHelmRelease(ctx context.Context, o Options) (operator, error) {
	releases, err := c.candidates(ctx, helmReleaseKind, o)
	if kube.IsMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	release, err := one(releases, helmReleaseKind.Kind, o, func(*unstructured.Unstructured) int { return 0 })
	if release == nil {
		return nil, err
	}
	labels := release.GetLabels()
	owner, err := c.cluster.Get(ctx, kustomizationKind, labels["kustomize.toolkit.fluxcd.io/namespace"], labels["kustomize.toolkit.fluxcd.io/name"])
	if err != nil || owner == nil {
		return nil, errors.Join(fmt.Errorf("HelmRelease %s/%s was not applied by a Kustomization, so the commit cannot be followed: name a Kustomization with gitops.application", release.GetNamespace(), release.GetName()), err)
	}
	found, err := c.kustomization(ctx, owner)
	if err != nil {
		return nil, err
	}
	found.(*fluxKustomization).only = watch.Object{Kind: helmReleaseKind, Namespace: release.GetNamespace(), Name: release.GetName()}
	return found, nil
}

// nearAs returns whether an Application is as near to the path as those that were found.
func (o Options) nearAs(found []*unstructured.Unstructured) func(*unstructured.Unstructured) bool {
	least := o.nearestApplication(found[0])
	return func(app *unstructured.Unstructured) bool { return o.nearestApplication(app) >= least }
}

// one returns the candidate that is named, or that is nearest; nil when none is near.
func one(candidates []*unstructured.Unstructured, kind string, o Options, nearness func(*unstructured.Unstructured) int) (*unstructured.Unstructured, error) {
	return only(nearest(candidates, o, nearness), kind)
}

// nearest returns the candidates that are named, or that are equally near and nearer than all others.
func nearest(candidates []*unstructured.Unstructured, o Options, nearness func(*unstructured.Unstructured) int) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	best := 0
	for _, candidate := range candidates {
		near := 0
		if o.Name == "" {
			near = nearness(candidate)
		}
		if near < 0 || len(found) > 0 && near < best {
			continue
		}
		if near > best {
			found, best = nil, near
		}
		found = append(found, candidate)
	}
	return found
}

// only returns the object that was found, nil for none, and an error for several.
func only(found []*unstructured.Unstructured, kind string) (*unstructured.Unstructured, error) {
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	var names []string
	for _, f := range found {
		names = append(names, f.GetNamespace()+"/"+f.GetName())
	}
	return nil, fault.Usagef("%d %ss could be meant: %s: %s", len(found), kind, strings.Join(names, ", "), nameIt)
}

// nearestApplication returns how near an Application is to the path of the repository; -1 when it does not follow it.
func (o Options) nearestApplication(app *unstructured.Unstructured) int {
	best := -1
	all := sources(app)
	for i, source := range all {
		get := func(key string) string { s, _ := source[key].(string); return s }
		revision := git.BranchName(get("targetRevision"))
		if git.SameRepository(get("repoURL"), o.RepoURL) && (o.Branch == "" || revision == "" || revision == "HEAD" || revision == o.Branch) {
			best = max(best, nearestPath(all, i, o.Path))
		}
	}
	return best
}

// nearestPath returns how near what source i takes from its repository is to a path: its directory, the values files that
// it names, and those that other sources take by its ref.
//
//	sources:
//	- {repoURL: https://git.example.com/config.git, targetRevision: main, ref: values}
//	- {repoURL: https://charts.example.com, chart: web, helm: {valueFiles: [$values/apps/web/values.yaml]}}
func nearestPath(all []map[string]any, i int, wanted string) int {
	directory, _ := all[i]["path"].(string)
	ref, _ := all[i]["ref"].(string)
	best := -1
	if directory != "" || ref == "" {
		best = near(directory, wanted)
	}
	for k, other := range all {
		helm, _ := other["helm"].(map[string]any)
		files, _ := helm["valueFiles"].([]any)
		for _, item := range files {
			file, _ := item.(string)
			below, byRef := strings.CutPrefix(file, "$"+ref+"/")
			switch {
			case byRef && ref != "":
				best = max(best, nearFile(below, wanted))
			case k != i, strings.HasPrefix(file, "$"), strings.Contains(file, "://"):
			case strings.HasPrefix(file, "/"):
				best = max(best, nearFile(file, wanted))
			default:
				best = max(best, nearFile(path.Join(directory, file), wanted))
			}
		}
	}
	return best
}

// exact is the nearness of a directory to itself.
const exact = 1 << 20

// near returns how near a directory that is followed is to the path that is wanted: the same, else above it, the deepest
// first, else below it. It is -1 for all others.
func near(followed, wanted string) int {
	followed, wanted = plainPath(followed), plainPath(wanted)
	switch {
	case followed == wanted:
		return exact
	case followed == ".":
		return 1
	case strings.HasPrefix(wanted, followed+"/"):
		return 2 + strings.Count(followed, "/")
	case wanted == ".", strings.HasPrefix(followed, wanted+"/"):
		return 0
	}
	return -1
}

// nearFile is near for a file. A file in the directory that is wanted is nearer than a directory above that.
func nearFile(file, wanted string) int {
	file, wanted = plainPath(file), plainPath(wanted)
	switch {
	case wanted == ".":
		return 0
	case file == wanted, strings.HasPrefix(file, wanted+"/"):
		return exact - 1
	}
	return -1
}

// plainPath returns a path in a repository without "./" and "/" at its ends. The root is ".".
func plainPath(p string) string {
	return cmp.Or(strings.TrimPrefix(path.Clean("/"+p), "/"), ".")
}
