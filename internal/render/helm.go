package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/kustomize"
)

// Cluster is what a chart may ask about the cluster that it is deployed to.
type Cluster interface {
	// Version is the version of the API server, such as v1.34.4.
	Version() string
	// APIVersions are the APIs that are served, each version (apps/v1) and each kind (apps/v1/Deployment).
	APIVersions(context.Context) ([]string, error)
	// Lookup returns an object, or with an empty name a list of objects. What is not there is empty: a kind that the
	// cluster does not know, too, because the definition may come with the same chart.
	Lookup(ctx context.Context, apiVersion, kind, namespace, name string) (map[string]any, error)
}

// chart is a loaded chart with what its templates are given.
type chart struct {
	*chartv2.Chart
	path         string
	cluster      Cluster
	release      common.ReleaseOptions
	values       *userValues
	capabilities *common.Capabilities
	warned       bool // reports that the warnings about its output are out
}

// IsChart reports whether Render reads a path as a Helm chart.
func IsChart(path string) bool {
	return strings.HasSuffix(path, ".tgz") || !isKustomization(path) && isFile(filepath.Join(path, "Chart.yaml"))
}

// renderChart renders a Helm chart as `helm upgrade --install` does, with the CustomResourceDefinitions of its crds
// directory first. Hooks are among the objects, see [Hooks].
func renderChart(ctx context.Context, path string, o Options) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	var err error
	kustomize.Quietly(ctx, func() {
		var c *chart
		if c, err = loadChart(ctx, path, o); err == nil {
			objects, err = c.objects(ctx)
		}
	})
	return objects, err
}

func loadChart(ctx context.Context, path string, o Options) (*chart, error) {
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("reading the Helm chart %s: %w", path, err)
	}
	return newChart(ctx, path, loaded, o)
}

// newChart checks a chart that was read, and gives it the values that it is rendered with.
func newChart(ctx context.Context, path string, loaded *chartv2.Chart, o Options) (*chart, error) {
	if loaded.Metadata.Type == "library" {
		return nil, fmt.Errorf("%s is a library chart, which has nothing to deploy: name the chart that uses it", path)
	}
	if missing := missingDependencies(loaded); len(missing) > 0 {
		return nil, fmt.Errorf("the Helm chart %s depends on %s, which its charts directory lacks: nothing is fetched while rendering, so run `helm dependency build %s` (the helm command, which is not a part of aksflow) and commit the charts directory",
			path, strings.Join(missing, ", "), path)
	}
	values, err := readValues(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(loaded, values.merged); err != nil {
		return nil, fmt.Errorf("the dependencies of the Helm chart %s: %w", path, err)
	}
	c := &chart{
		Chart: loaded, path: path, cluster: o.Cluster, values: values,
		release: common.ReleaseOptions{
			Name: cmp.Or(o.ReleaseName, loaded.Name()), Namespace: cmp.Or(o.Namespace, "default"),
			Revision: max(o.Revision, 1), IsUpgrade: o.Upgrade, IsInstall: !o.Upgrade,
		},
	}
	if err := chartutil.ValidateReleaseName(c.release.Name); err != nil {
		return nil, fmt.Errorf("the release name %q of the Helm chart %s: %w: set releaseName", c.release.Name, path, err)
	}
	return c, c.setCapabilities(ctx)
}

// setCapabilities asks the cluster for its version and APIs. Without a cluster they are those that the linked Helm library
// was built for.
func (c *chart) setCapabilities(ctx context.Context) error {
	c.capabilities = common.DefaultCapabilities.Copy()
	if c.cluster == nil {
		return nil
	}
	version, err := common.ParseKubeVersion(c.cluster.Version())
	if err != nil {
		return fmt.Errorf("the cluster's version %q: %w", c.cluster.Version(), err)
	}
	c.capabilities.KubeVersion = *version
	if c.capabilities.APIVersions, err = c.cluster.APIVersions(ctx); err != nil {
		return err
	}
	c.capabilities.APIVersions = slices.Clip(c.capabilities.APIVersions)
	if wanted := c.Metadata.KubeVersion; wanted != "" && !chartutil.IsCompatibleRange(wanted, version.String()) {
		return fmt.Errorf("the Helm chart %s is for Kubernetes %s (kubeVersion in its Chart.yaml), and the cluster runs %s", c.path, wanted, version.Version)
	}
	return nil
}

func (c *chart) objects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, crd := range c.CRDObjects() {
		read, err := decode(c.file(crd.Filename), crd.File.Data, warner(ctx))
		if err != nil {
			return nil, err
		}
		for _, definition := range read {
			c.capabilities.APIVersions = append(c.capabilities.APIVersions, served(definition)...)
		}
		objects = append(objects, read...)
	}
	rendered, err := c.stable(ctx)
	if err != nil {
		return nil, err
	}
	warnUnknownHooks(rendered, warner(ctx))
	for _, o := range rendered {
		if !neverRuns(o) {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// served are the APIs that a CustomResourceDefinition adds to the cluster. Helm creates a chart's definitions before it
// asks for the capabilities.
func served(definition *unstructured.Unstructured) []string {
	var apis []string
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, item := range versions {
		version, _ := item.(map[string]any)
		if name, ok := version["name"].(string); ok && version["served"] == true {
			apis = append(apis, group+"/"+name, group+"/"+name+"/"+kind)
		}
	}
	return apis
}

// render runs the templates once, with the random functions and the clock of a sequence.
func (c *chart) render(ctx context.Context, s *sequence) ([]*unstructured.Unstructured, error) {
	values, err := util.ToRenderValuesWithSchemaValidation(c.Chart, deepCopy(c.values.merged).(map[string]any), c.release, c.capabilities, true)
	if err != nil {
		return nil, fmt.Errorf("the values of the Helm chart %s: %w", c.path, err)
	}
	merged, err := values.Table("Values")
	if err != nil {
		return nil, fmt.Errorf("the values of the Helm chart %s: %w", c.path, err)
	}
	if err := checkSchemas(ctx, c.Chart, merged, nil, c.values); err != nil {
		return nil, err
	}
	// Templates may change their values, and those of the chart are not copied.
	values["Values"] = deepCopy(merged)
	functions := s.functions()
	if c.cluster != nil {
		functions["lookup"] = func(apiVersion, kind, namespace, name string) (map[string]any, error) {
			return c.cluster.Lookup(ctx, apiVersion, kind, namespace, name)
		}
	}
	files, err := engine.Engine{CustomTemplateFuncs: functions}.RenderWithContext(ctx, c.Chart, values)
	if err != nil {
		return nil, c.templateError(err)
	}
	warn := warner(ctx)
	if c.warned {
		warn = func(string, ...any) {}
	}
	c.warned = true
	return c.decode(files, warn)
}

// separator is where Helm takes the output of a template apart. It is more lenient than kubectl: an object may begin in
// the same line. https://github.com/helm/helm/blob/v4.3.1/pkg/release/v1/util/manifest.go
var separator = regexp.MustCompile(`(?m)^---[ \t]*`)

// asRendered stands behind the name of a template, in messages about what it gives.
const asRendered = " as rendered"

// decode reads the objects of rendered templates. Every file that is not blank is one, whatever it is called; only the
// notes for the user are not.
func (c *chart) decode(files map[string]string, warn func(string, ...any)) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			continue
		}
		line, text := 1, files[name]
		ends := separator.FindAllStringIndex(text, -1)
		ends = append(ends, []int{len(text), len(text)})
		start := 0
		for _, end := range ends {
			d := document{name: c.file(name) + asRendered, line: line, text: []byte(text[start:end[0]])}
			line += strings.Count(text[start:end[1]], "\n")
			start = end[1]
			if strings.TrimSpace(string(d.text)) == "" {
				continue
			}
			read, err := d.objects()
			if err != nil {
				return nil, err
			}
			d.warnings(warn)
			objects = append(objects, read...)
		}
	}
	return objects, nil
}

// file is the path of a chart's file. Helm names it after the chart: shop/templates/web.yaml.
func (c *chart) file(name string) string {
	return filepath.Join(c.path, strings.TrimPrefix(name, c.Name()+"/"))
}

var (
	templatePlace  = regexp.MustCompile(`\(?\b([\w.-]+(?:/[\w.-]+)+):(\d+)(?::\d+)?\)?`)
	templatePrefix = regexp.MustCompile(`^(?:execution|parse) error at |^template: `)
)

// templateError is an error of Helm's engine in one line that begins with the path of the template and the line.
func (c *chart) templateError(err error) error {
	text := strings.Join(strings.Fields(templatePrefix.ReplaceAllString(err.Error(), "")), " ")
	place := templatePlace.FindStringSubmatchIndex(text)
	if place == nil {
		return fmt.Errorf("rendering the Helm chart %s: %w", c.path, err)
	}
	text = templatePlace.ReplaceAllStringFunc(text, func(found string) string {
		m := templatePlace.FindStringSubmatch(found)
		if !strings.HasPrefix(m[1], c.Name()+"/") {
			return found
		}
		return c.file(m[1]) + ":" + m[2]
	})
	if place[0] > 0 {
		return fmt.Errorf("rendering the Helm chart %s: %s", c.path, text)
	}
	if file, rest, ok := strings.Cut(text, " executing "); ok && !strings.HasSuffix(file, ":") {
		text = file + ": executing " + rest
	}
	return errors.New(text)
}

func missingDependencies(c *chartv2.Chart) []string {
	var missing []string
	for _, dependency := range c.Metadata.Dependencies {
		there := slices.ContainsFunc(c.Dependencies(), func(d *chartv2.Chart) bool { return d.Name() == dependency.Name })
		if there {
			continue
		}
		text := strings.TrimSpace(dependency.Name + " " + dependency.Version)
		if dependency.Repository != "" {
			text += " of " + dependency.Repository
		}
		missing = append(missing, text)
	}
	return missing
}

func deepCopy(value any) any {
	switch v := value.(type) {
	case common.Values:
		return deepCopy(map[string]any(v))
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = deepCopy(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = deepCopy(item)
		}
		return out
	default:
		return v
	}
}
