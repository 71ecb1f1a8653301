package adopt

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// split gives each object of manifests that several services share, or that stand among other files, to a service: together
// the services have all of them. Those that are not kept have theirs, too, so that nobody else delivers them.
func split(all, kept []*Service) {
	dirs := map[string][]*Service{}
	for _, s := range all {
		for _, m := range s.Manifests {
			dirs[m.Path] = append(dirs[m.Path], s)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if slices.ContainsFunc(dirs[dir], func(s *Service) bool { return s.Shared && slices.Contains(kept, s) }) {
			splitOne(dir, dirs[dir], kept)
		}
	}
}

// in returns the service's manifests of a directory.
func (s *Service) in(dir string) *Deployable {
	i := slices.IndexFunc(s.Manifests, func(m Deployable) bool { return m.Path == dir })
	return &s.Manifests[i]
}

// splitOne splits the objects of one directory. What runs a service's image is the service's. What is left belongs to the
// first service that has an object which names it or which it names.
func splitOne(dir string, services, kept []*Service) {
	objects := services[0].in(dir).objects
	owners := map[*unstructured.Unstructured][]*Service{}
	workloads := map[*unstructured.Unstructured]bool{}
	for _, u := range usages(objects) {
		workloads[u.object] = true
		for _, s := range services {
			if s.in(dir).Reference == u.reference && !slices.Contains(owners[u.object], s) {
				owners[u.object] = append(owners[u.object], s)
			}
		}
	}
	var others []*unstructured.Unstructured // workloads of images that are not built here
	for _, o := range objects {
		if workloads[o] && owners[o] == nil {
			others = append(others, o)
		}
	}
	// A workload of nobody's comes last: what stands between it and a service is that service's first, such as a Service.
	for {
		if o, s := nearest(objects, owners, func(o *unstructured.Unstructured) bool { return !workloads[o] }); o != nil {
			owners[o] = []*Service{s}
			continue
		}
		o, s := nearest(objects, owners, func(*unstructured.Unstructured) bool { return true })
		if o == nil {
			break
		}
		owners[o] = []*Service{s}
	}
	first := services[0]
	if i := slices.IndexFunc(services, func(s *Service) bool { return slices.Contains(kept, s) }); i >= 0 {
		first = services[i]
	}
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			continue // each environment has its own
		}
		if owners[o] == nil {
			owners[o] = []*Service{first}
		}
		for _, s := range owners[o] {
			m := s.in(dir)
			m.own = append(m.own, o)
			if name := o.GetKind() + "/" + o.GetName(); slices.Contains(others, o) && !slices.Contains(m.others, name) {
				m.others = append(m.others, name)
			}
		}
	}
}

// nearest returns the first object of nobody's that belongs to an object of a service, and the service.
func nearest(objects []*unstructured.Unstructured, owners map[*unstructured.Unstructured][]*Service, may func(*unstructured.Unstructured) bool,
) (*unstructured.Unstructured, *Service) {
	for _, o := range objects {
		if owners[o] != nil || o.GetKind() == "Namespace" || !may(o) {
			continue
		}
		for _, owned := range objects {
			if of := owners[owned]; of != nil && (mentions(owned, o) || mentions(o, owned) || selects(o, owned) || selects(owned, o)) {
				return o, of[0]
			}
		}
	}
	return nil, nil
}

// mentions reports whether an object holds the name of another one: as a value, or where that is a Service as a host in one.
func mentions(o, other *unstructured.Unstructured) bool {
	name := other.GetName()
	if name == "" {
		return false
	}
	match := func(value string) bool { return value == name }
	if other.GetKind() == "Service" {
		match = regexp.MustCompile(`(^|[/@,= ])` + regexp.QuoteMeta(name) + `($|[.:/, ])`).MatchString
	}
	content := maps.Clone(o.Object)
	for _, key := range []string{"apiVersion", "kind", "metadata"} {
		delete(content, key)
	}
	return holdsScalar(content, match)
}

func holdsScalar(value any, match func(string) bool) bool {
	switch v := value.(type) {
	case string:
		return match(v)
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return holdsScalar(one, match) })
	case map[string]any:
		for key, one := range v {
			if key != "labels" && key != "matchLabels" && key != "selector" && holdsScalar(one, match) {
				return true
			}
		}
	}
	return false
}

// selects reports whether the selector of an object, such as a Service or a PodDisruptionBudget, fits the labels of another
// one, or of the pods that it makes.
func selects(o, other *unstructured.Unstructured) bool {
	for _, at := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}, {"spec", "selector"}} {
		selector, found, err := unstructured.NestedStringMap(o.Object, at...)
		if err != nil || !found || len(selector) == 0 {
			continue
		}
		made, _, _ := unstructured.NestedStringMap(other.Object, "spec", "template", "metadata", "labels")
		fits := labels.SelectorFromSet(selector)
		return fits.Matches(labels.Set(made)) || fits.Matches(labels.Set(other.GetLabels()))
	}
	return false
}

// nameHomes says what the namespaces of each service are named after. Those of one repository share them, as they find each
// other by name there, unless their objects have the same names.
func (r *Repository) nameHomes(all []*Service, repository string) {
	delivered := slices.DeleteFunc(slices.Clone(all), func(s *Service) bool { return helper.MatchString(s.file.Path) })
	share := len(delivered) > 1 && r.namesDiffer(delivered)
	for _, s := range all {
		s.home = s.Name
		if share {
			s.home = label(repository)
		}
	}
}

// namesDiffer reports whether the objects of services could be in one namespace.
func (r *Repository) namesDiffer(services []*Service) bool {
	taken := map[string]*Service{}
	for _, s := range services {
		if len(s.Manifests) == 0 || s.Shared {
			continue
		}
		for _, o := range s.Manifests[0].objects {
			name := fmt.Sprint(o.GetKind(), "/", o.GetName())
			if other := taken[name]; other != nil && other != s && o.GetKind() != "Namespace" {
				r.notice("%s and %s both have a %s, and get a namespace of their own each: in one namespace they would be the same object", other.Name, s.Name, name)
				return false
			}
			taken[name] = s
		}
	}
	return true
}
