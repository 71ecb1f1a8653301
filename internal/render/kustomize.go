package render

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/kustomize"
)

// kustomizationNames are the file names that kustomize knows.
var kustomizationNames = konfig.RecognizedKustomizationFileNames()

func isKustomization(dir string) bool { return kustomizationFile(dir) != "" }

// kustomizationFile is the path of dir's kustomization, or "".
func kustomizationFile(dir string) string {
	for _, name := range kustomizationNames {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	return ""
}

// kustomization renders a kustomization. What renders here must render where it is applied: see [Options].Repository.
func kustomization(ctx context.Context, dir, repository string) ([]*unstructured.Unstructured, error) {
	if err := (&localOnly{seen: map[string]bool{}, repository: repository}).directory(dir); err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	if repository != "" {
		options.LoadRestrictions = types.LoadRestrictionsNone
	}
	var resources resmap.ResMap
	var err error
	kustomize.Quietly(ctx, func() { resources, err = krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir) })
	if err != nil {
		err = fmt.Errorf("rendering the kustomization %s: %w", dir, err)
		if strings.Contains(err.Error(), "is not in or below") {
			err = fmt.Errorf("%w: move it there, or give it a directory with a kustomization.yaml of its own and name that", err)
		}
		return nil, err
	}
	objects := make([]*unstructured.Unstructured, 0, resources.Size())
	for _, resource := range resources.Resources() {
		// MarshalJSON keeps integers integers; Map would return the int type that unstructured does not take.
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("rendering the kustomization %s: %s: %w", dir, resource.CurId(), err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(data); err != nil {
			return nil, fmt.Errorf("rendering the kustomization %s: %s: %w", dir, resource.CurId(), err)
		}
		if err := check(object); err != nil {
			return nil, fmt.Errorf("rendering the kustomization %s: %w", dir, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// localOnly reads a kustomization and everything that it names before kustomize does. It refuses what kustomize would
// fetch or run, and it names the line of broken YAML, which kustomize's own errors do not.
type localOnly struct {
	seen map[string]bool
	// repository is Options.Repository: nothing outside of it is read.
	repository string
}

// leaves reports whether a path is outside of the repository.
func (l *localOnly) leaves(path string) bool {
	if l.repository == "" {
		return false // kustomize has a tighter bound
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return true
	}
	rel, err := filepath.Rel(l.repository, abs)
	return err != nil || !filepath.IsLocal(rel)
}

// outside is the error for a path that leaves.
func (l *localOnly) outside(file named, entry string) error {
	return fmt.Errorf("%s names %s, which is not in the repository %s: copy it there", file.at(entry), entry, l.repository)
}

func (l *localOnly) directory(dir string) error {
	path := kustomizationFile(dir)
	if path == "" {
		return fmt.Errorf("%s holds no kustomization.yaml: add one, or name the files in it one by one", dir)
	}
	if l.seen[path] {
		return nil
	}
	l.seen[path] = true

	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := wellFormed(path, data); err != nil {
		return err
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return fmt.Errorf("%s is not a kustomization: %w", path, unwrapped(err))
	}
	k.FixKustomization() // bases become resources, and the old names of fields the new ones
	file := named{path: path, data: data}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		return fmt.Errorf("%s inflates Helm charts, for which kustomize runs the helm command: deploy the chart's own directory with its values, or commit what `kustomize build --enable-helm` prints and name that file", file.at("helmCharts"))
	}
	for _, entry := range slices.Concat(k.Resources, k.Components) {
		if err := l.entry(file, entry, true); err != nil {
			return err
		}
	}
	for _, entry := range files(&k) {
		if entry == "" || strings.Contains(entry, "\n") { // written in place
			continue
		}
		if err := l.entry(file, entry, false); err != nil {
			return err
		}
	}
	return l.generated(file, &k)
}

// files are the files that a kustomization names beside its resources. A patch may stand in place of its file's name.
func files(k *types.Kustomization) []string {
	files := slices.Concat(k.Configurations, k.Crds, k.Generators, k.Transformers, k.Validators)
	files = append(files, k.OpenAPI["path"])
	//lint:ignore SA1019 Deprecated, and still in people's repositories.
	for _, patch := range k.PatchesStrategicMerge {
		files = append(files, string(patch))
	}
	//lint:ignore SA1019 As above.
	old := k.PatchesJson6902
	for _, patch := range slices.Concat(k.Patches, old) {
		files = append(files, patch.Path)
	}
	for _, replacement := range k.Replacements {
		files = append(files, replacement.Path)
	}
	return files
}

// generated checks what the generators of ConfigMaps and Secrets read.
func (l *localOnly) generated(file named, k *types.Kustomization) error {
	var sources []types.KvPairSources
	for _, g := range k.ConfigMapGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, source := range sources {
		for _, entry := range slices.Concat(source.FileSources, source.EnvSources) {
			name := entry
			if _, path, ok := strings.Cut(entry, "="); ok { // KEY=FILE
				name = path
			}
			path := filepath.Join(filepath.Dir(file.path), name)
			switch {
			case l.leaves(path) && !isRemote(name):
				return l.outside(file, entry)
			case isFile(path):
			case isRemote(name):
				return file.remote(entry, name)
			default:
				return fmt.Errorf("%s names %s, and there is no such file", file.at(entry), name)
			}
		}
	}
	return nil
}

// entry checks one path that a kustomization names. required means that it must be there: kustomize would try to clone a
// resource that is not on disk.
func (l *localOnly) entry(file named, entry string, required bool) error {
	path := filepath.Join(filepath.Dir(file.path), entry)
	switch {
	case filepath.IsAbs(entry):
		return fmt.Errorf("%s names the absolute path %s: use a path relative to the kustomization", file.at(entry), entry)
	case l.leaves(path) && !isRemote(entry):
		return l.outside(file, entry)
	case isDir(path):
		if kustomizationFile(path) == "" {
			return fmt.Errorf("%s names the directory %s, which holds no kustomization.yaml: add one, or name the files in it one by one", file.at(entry), entry)
		}
		return l.directory(path)
	case isFile(path):
		if !isManifest(path) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = wellFormed(path, data)
		return err
	case isRemote(entry):
		return file.remote(entry, entry)
	case required:
		return fmt.Errorf("%s names %s, and there is no such file or directory", file.at(entry), entry)
	}
	return nil
}

// wellFormed returns the documents of a file, and an error with the line when it is not YAML.
func wellFormed(path string, data []byte) ([]document, error) {
	documents, err := split(path, data)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		if d.json {
			continue
		}
		if _, err := sigsyaml.YAMLToJSON(d.text); err != nil {
			return nil, d.notYAML(err)
		}
	}
	return documents, nil
}

// unwrapped is the error that a library wrapped into its own name for the file.
func unwrapped(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// named is a kustomization that names other files.
type named struct {
	path string
	data []byte
}

// at is the place of a key or a value in the file, as PATH:LINE.
func (n named) at(text string) string {
	var root yaml.Node
	if err := yaml.Unmarshal(n.data, &root); err != nil {
		return n.path
	}
	if line := lineOf(&root, text); line > 0 {
		return fmt.Sprintf("%s:%d", n.path, line)
	}
	return n.path
}

func lineOf(node *yaml.Node, text string) int {
	if node.Kind == yaml.ScalarNode && node.Value == text {
		return node.Line
	}
	for _, child := range node.Content {
		if line := lineOf(child, text); line > 0 {
			return line
		}
	}
	return 0
}

func (n named) remote(entry, address string) error {
	return fmt.Errorf("%s names the remote %s: only local files are rendered, so that what is deployed is what was reviewed; copy it into the repository and name the copy", n.at(entry), address)
}

// remoteForm is what kustomize takes for a repository or a URL: a scheme, an scp-like user@host:, a known host in the
// first place, or a query as in "repo//path?ref=v1".
var remoteForm = regexp.MustCompile(`://|^[\w.-]+@[\w.-]+:|^(github\.com|gitlab\.com|bitbucket\.org|dev\.azure\.com|ssh\.dev\.azure\.com)[/:]|^git::|\?(ref|version|timeout|submodules)=`)

func isRemote(entry string) bool { return remoteForm.MatchString(entry) }
