package adopt

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// toFill matches what people and tools replace in manifests before they are applied: #{NAME}#, __NAME__, ${NAME} and <name>.
var toFill = regexp.MustCompile(`#\{[^{}]+\}#?|\b__[A-Za-z]\w*__\b|\$\{[A-Za-z_]\w*\}|<[A-Za-z][\w .-]*>`)

// incomplete notices what is missing in manifests of a service: dependencies of a chart, and values that somebody else fills in.
func (r *Repository) incomplete(s *Service, m Deployable, objects []*unstructured.Unstructured) {
	if lacks := r.lacks[m.Path]; len(lacks) > 0 {
		r.noticeOnce("the chart %[1]s needs %[2]s, which is not below its charts directory: run `helm dependency build %[1]s` and commit what it fetches, since nothing is fetched while delivering", m.Path, strings.Join(lacks, ", "))
	}
	if _, named := ref.Read(m.Reference).Canonical(); strings.TrimPrefix(named, "library/") != imagePath(m.Reference) {
		r.noticeOnce("%s names the image of %s as %s, and no deployment finds that: write %s there", directoryName(m.Path), s.Name, m.Reference, s.Image)
	}
	var found []string
	for _, o := range objects {
		if !slices.Contains([]string{"ConfigMap", "Secret", "CustomResourceDefinition"}, o.GetKind()) {
			found = append(found, unfilled(o.Object, m.Reference)...)
		}
	}
	if found = distinctStrings(found); len(found) > 0 {
		r.noticeOnce("%s has %s, which something else fills in so far: aksflow applies the text as it stands; write the values, for each environment in an overlay if they differ", directoryName(m.Path), firstOf(found))
	}
}

// noticeOnce is notice for what several services may say.
func (r *Repository) noticeOnce(format string, args ...any) {
	before := len(r.Notices)
	if r.notice(format, args...); slices.Contains(r.Notices[:before], r.Notices[before]) {
		r.Notices = r.Notices[:before]
	}
}

// unfilled returns what is to be filled in in a value of an object. Shells have variables of the same form, and the image of the
// service is set at each deployment.
func unfilled(value any, image string) (found []string) {
	switch v := value.(type) {
	case string:
		if v != image && !strings.Contains(v, "</") && !strings.Contains(v, "\n") {
			found = toFill.FindAllString(v, -1)
		}
	case []any:
		for _, one := range v {
			found = append(found, unfilled(one, image)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key != "command" && key != "args" {
				found = append(found, unfilled(v[key], image)...)
			}
		}
	}
	return found
}

// withoutImage are the objects with a container that names no image: a value of the chart that is empty says which one it is.
func withoutImage(objects []*unstructured.Unstructured) (names []string) {
	for _, o := range objects {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		open := func(c any) bool {
			container, ok := c.(map[string]any)
			return ok && (container["image"] == nil || container["image"] == "")
		}
		if slices.ContainsFunc(containers, open) {
			names = append(names, o.GetKind()+"/"+o.GetName())
		}
	}
	return names
}
