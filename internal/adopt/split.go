package adopt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
	links := neighbours(objects)
	for {
		if o, s := nearest(objects, links, owners, func(o *unstructured.Unstructured) bool { return !workloads[o] }); o != nil {
			owners[o] = []*Service{s}
			continue
		}
		o, s := nearest(objects, links, owners, func(*unstructured.Unstructured) bool { return true })
		if o == nil {
			break
		}
		owners[o] = []*Service{s}
	}
	withSelected(objects, others, owners)
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

// withSelected gives a Service that selects a workload of nobody's to the owner of that: neither works without the other.
func withSelected(objects, others []*unstructured.Unstructured, owners map[*unstructured.Unstructured][]*Service) {
	for _, o := range objects {
		of := sayingOf(o)
		if o.GetKind() != "Service" || of.selector == nil {
			continue
		}
		selected := func(other *unstructured.Unstructured) bool { return other != o && of.selects(sayingOf(other)) }
		i := slices.IndexFunc(others, selected)
		mixed := slices.ContainsFunc(objects, func(other *unstructured.Unstructured) bool {
			return owners[other] != nil && !slices.Contains(others, other) && other.GetKind() != "Service" && selected(other)
		})
		if i >= 0 && !mixed && owners[others[i]] != nil {
			owners[o] = owners[others[i]]
		}
	}
}

// nearest returns the first object of nobody's that belongs to an object of a service, and the service.
func nearest(objects []*unstructured.Unstructured, links map[*unstructured.Unstructured][]*unstructured.Unstructured,
	owners map[*unstructured.Unstructured][]*Service, may func(*unstructured.Unstructured) bool,
) (*unstructured.Unstructured, *Service) {
	for _, o := range objects {
		if owners[o] != nil || o.GetKind() == "Namespace" || !may(o) {
			continue
		}
		for _, owned := range links[o] {
			if of := owners[owned]; of != nil {
				return o, of[0]
			}
		}
	}
	return nil, nil
}

// neighbours returns for each object those that name it or select it, and those that it names or selects, in their order.
func neighbours(objects []*unstructured.Unstructured) map[*unstructured.Unstructured][]*unstructured.Unstructured {
	said := make([]saying, len(objects))
	for i, o := range objects {
		said[i] = sayingOf(o)
	}
	links := map[*unstructured.Unstructured][]*unstructured.Unstructured{}
	for i, o := range objects {
		for j, other := range objects {
			if i != j && (said[i].mentions(other) || said[j].mentions(o) || said[i].selects(said[j]) || said[j].selects(said[i])) {
				links[o] = append(links[o], other)
			}
		}
	}
	return links
}

// saying is what an object says that may be about others.
type saying struct {
	values, hosts map[string]bool // its values, and what in them may be the name of a host
	selector      labels.Selector // of a Service, a PodDisruptionBudget and such; nil if it has none
	labels        []labels.Set    // its own, and those of the pods that it makes
}

func sayingOf(o *unstructured.Unstructured) saying {
	s := saying{values: map[string]bool{}, hosts: map[string]bool{}}
	content := maps.Clone(o.Object)
	for _, key := range []string{"apiVersion", "kind", "metadata"} {
		delete(content, key)
	}
	s.note(content)
	made, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
	s.labels = []labels.Set{made, o.GetLabels()}
	for _, at := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}, {"spec", "selector"}} {
		if selector, found, err := unstructured.NestedStringMap(o.Object, at...); err == nil && found && len(selector) > 0 {
			s.selector = labels.SelectorFromSet(selector)
			break
		}
	}
	return s
}

// hostStart is what may stand before a host's name in a value, and hostEnd what ends it.
const hostStart, hostEnd = "/@,= ", ".:/, "

// note adds a value and those in it. Labels, and what selects them, name no object.
func (s saying) note(value any) {
	switch v := value.(type) {
	case string:
		s.values[v] = true
		for rest := v; ; {
			host := rest
			if end := strings.IndexAny(rest, hostEnd); end >= 0 {
				host = rest[:end]
			}
			s.hosts[host] = true
			next := strings.IndexAny(rest, hostStart)
			if next < 0 {
				return
			}
			rest = rest[next+1:]
		}
	case []any:
		for _, one := range v {
			s.note(one)
		}
	case map[string]any:
		for key, one := range v {
			if key != "labels" && key != "matchLabels" && key != "selector" {
				s.note(one)
			}
		}
	}
}

// mentions reports whether the object holds the name of another one: as a value, or where that is a Service as a host in one.
func (s saying) mentions(other *unstructured.Unstructured) bool {
	name := other.GetName()
	return name != "" && (s.values[name] || other.GetKind() == "Service" && s.hosts[name])
}

// selects reports whether the selector of the object fits the labels of another one, or of the pods that it makes.
func (s saying) selects(other saying) bool {
	return s.selector != nil && slices.ContainsFunc(other.labels, func(set labels.Set) bool { return s.selector.Matches(set) })
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
