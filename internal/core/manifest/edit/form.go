package edit

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// form is what a document is, as far as it decides where images stand in it.
type form int

const (
	object        form = iota // a Kubernetes object, a patch of one, or anything else
	kustomization             // has images:, patches: …
	values                    // Helm values, and whatever else has no kind
	parameters                // .argocd-source-NAME.yaml: an Application's source
	environment               // settings for a generator: NAME=VALUE
	foreign                   // another tool's file: no manifest
)

// KustomizationNames are the names that kustomize looks for, in its order.
var KustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

func IsKustomization(name string) bool { return slices.Contains(KustomizationNames, path.Base(name)) }

// formOf returns what a document is, by its file's name, its own kind and its keys.
func formOf(name string, root *yaml.Node) form {
	group, kind := groupKind(root)
	switch {
	case IsSettings(name):
		return environment
	case IsKustomization(name) || group == "kustomize.config.k8s.io":
		return kustomization
	case kind != "" && isForeignKind(group, kind):
		return foreign
	case kind != "" || root.Kind != yaml.MappingNode:
		return object
	case strings.HasPrefix(path.Base(name), ".argocd-source"):
		return parameters
	case isForeign(name, root):
		return foreign
	}
	return values
}

// groupKind returns an object's API group ("" for the core group) and kind; both "" for what is no object.
func groupKind(n *yaml.Node) (group, kind string) {
	version, k := scalarAt(n, "apiVersion"), scalarAt(n, "kind")
	if version == nil || k == nil {
		return "", ""
	}
	if g, _, found := strings.Cut(text(version), "/"); found {
		group = g
	}
	return group, text(k)
}

// isForeignKind reports whether the images in an object are not run by the cluster: what other tools watch or set,
// what is allowed to run, schemas.
func isForeignKind(group, kind string) bool {
	switch group {
	case "image.toolkit.fluxcd.io", "kargo.akuity.io", "argocd-image-updater.argoproj.io", "skaffold", "tilt.dev",
		"kind.x-k8s.io", "k3d.io", "policy.sigstore.dev", "garden.io":
		return true
	}
	return kind == "CustomResourceDefinition"
}

// foreignNames are files of build servers and of tools on a developer's machine. What stands in a directory whose name
// starts with a dot (.github, .circleci, .devcontainer) is not read at all.
var foreignNames = regexp.MustCompile(`(?i)^(azure-pipelines.*|.*[.-]azure-pipelines|bitbucket-pipelines|buildspec.*|cloudbuild.*|appveyor|codemagic|` +
	`jenkinsfile.*|jenkins-x.*|wercker|(docker-)?compose([.-].*)?|docker-(stack|swarm|bake)([.-].*)?|skaffold.*|devspace.*|okteto.*|devcontainer|` +
	`renovate([.-].*)?|dependabot|mkdocs|goreleaser|(woodpecker|drone)([.-].*)?|package(-lock)?|aksflow)\.(ya?ml|json)5?$`)

// valuesNames are names of Helm values: values.yaml, values-prod.yaml, drone-values.yaml. They may have any keys.
var valuesNames = regexp.MustCompile(`(?i)^(.*[._-])?values([._-].*)?\.(ya?ml|json)$`)

// isForeign reports whether a file is for a build server or for docker compose, by its name and by its keys: templates
// of pipelines have any name. The keys are such as Helm values rarely have.
func isForeign(name string, root *yaml.Node) bool {
	switch {
	case valuesNames.MatchString(path.Base(name)):
		return false
	case foreignNames.MatchString(path.Base(name)),
		anyHas(root, "jobs", "steps", "runs-on", "deployment", "uses"), // GitHub, Azure Pipelines, Forgejo
		anyHas(root, "stages", "jobs", "stage"),                        // Azure Pipelines
		anyHas(root, "steps", "script", "task", "bash", "pwsh", "powershell", "checkout", "run", "uses", "args", "entrypoint", "commands"), // and Cloud Build, Woodpecker
		anyHas(root, "steps", "plugins"),                                    // Buildkite
		text(at(root, "kind")) == "pipeline" && at(root, "steps") != nil,    // Drone
		anyHas(root, "jobs", "docker"), anyHas(root, "executors", "docker"), // CircleCI
		at(root, "pipelineConfig", "agent") != nil,                                                                    // Jenkins X
		anyHas(root, "resource_types", "source"), anyHas(root, "resources", "source") && anyHas(root, "jobs", "plan"), // Concourse
		at(root, "image_resource", "source") != nil,                   // a task of Concourse
		at(root, "presubmits") != nil, at(root, "postsubmits") != nil, // Prow
		at(root, "runs", "using") != nil,                             // an action of GitHub
		anyHas(root, "tests", "asserts"),                             // helm-unittest
		anyHas(root, "containerDefinitions", "image"),                // Amazon ECS
		at(root, "info", "title") != nil && at(root, "paths") != nil, // OpenAPI
		at(root, "pool", "vmImage") != nil, at(root, "pipelines", "default") != nil:
		return true
	}
	return isGitLab(root) || isCompose(name, root)
}

// anyHas reports whether an item of a list, or of a mapping, has one of some keys.
func anyHas(root *yaml.Node, key string, keys ...string) bool {
	n := deref(at(root, key))
	if n == nil || n.Kind != yaml.SequenceNode && n.Kind != yaml.MappingNode {
		return false
	}
	for _, child := range n.Content {
		if slices.ContainsFunc(keys, func(k string) bool { return at(deref(child), k) != nil }) {
			return true
		}
	}
	return false
}

// stackNames are names of Docker Swarm's files that other files may have too, and composeVersion is its version:.
var (
	stackNames     = regexp.MustCompile(`(?i)^stack([.-].*)?\.ya?ml$`)
	composeVersion = regexp.MustCompile(`^[23](\.\d+)?$`)
)

// isCompose reports whether a file is for docker compose or Docker Swarm. Helm values may have services: too. They keep what
// belongs to an image in keys beside it, or have other keys at the top.
func isCompose(name string, root *yaml.Node) bool {
	if anyHas(root, "services", "build", "depends_on", "container_name") && anyHas(root, "services", "image", "build") {
		return true
	}
	own, beside := true, false
	for key := range pairs(root) {
		switch key {
		case "version", "networks", "volumes", "secrets", "configs":
			beside = true
		case "services", "name", "include":
		default:
			own = own && strings.HasPrefix(key, "x-")
		}
	}
	if !own || anyHas(root, "services", "tag", "repository") || !anyHas(root, "services", "image") {
		return false
	}
	if stackNames.MatchString(path.Base(name)) || composeVersion.MatchString(text(at(root, "version"))) || anyHas(root, "services", "network_mode", "env_file", "extra_hosts", "cap_add", "stop_grace_period") {
		return true
	}
	for _, service := range pairs(deref(at(root, "services"))) {
		if at(service, "deploy", "replicas") != nil || at(service, "deploy", "placement") != nil || at(service, "deploy", "resources") != nil ||
			isCollectionNode(at(service, "networks")) || beside && (mapsInText(at(service, "ports")) || mapsInText(at(service, "volumes"))) {
			return true
		}
	}
	return false
}

func isCollectionNode(n *yaml.Node) bool {
	n = deref(n)
	return n != nil && (n.Kind == yaml.SequenceNode || n.Kind == yaml.MappingNode)
}

// mapsInText reports whether a list has items such as "8080:80" and "data:/data".
func mapsInText(list *yaml.Node) bool {
	list = deref(list)
	return list != nil && list.Kind == yaml.SequenceNode &&
		slices.ContainsFunc(list.Content, func(item *yaml.Node) bool { return strings.Contains(text(item), ":") })
}

// isGitLab reports whether one of the top-level keys is a job of GitLab CI: it has a script, and a stage or an image.
func isGitLab(root *yaml.Node) bool {
	for _, job := range pairs(root) {
		if script := deref(at(job, "script")); script != nil && (at(job, "stage") != nil || at(job, "image") != nil) &&
			(script.Kind == yaml.SequenceNode || at(root, "stages") != nil) {
			return true
		}
	}
	return false
}

// IsManifest reports whether a file's name is that of something with images in it.
func IsManifest(name string) bool {
	base := path.Base(name)
	switch strings.ToLower(path.Ext(base)) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(base, ".") || strings.HasPrefix(base, ".argocd-source")
	}
	return base == "Kustomization" || IsSettings(name)
}

// IsSettings reports whether a file's name is that of settings from which kustomize generates ConfigMaps.
func IsSettings(name string) bool {
	base := path.Base(name)
	ext := path.Ext(base)
	return (ext == ".env" || ext == ".properties") && ext != base
}

// normal is a key without what conventions differ in: image_tag, image-tag and imageTag are imagetag.
func normal(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(key))
}

var upperCaseKey = regexp.MustCompile(`^[A-Z0-9_.-]+$`)

// namesImage reports whether a key says that its value is an image: image, initImage, imageName, WEB_IMAGE,
// RELATED_IMAGE_WEB, --reloader-image.
func namesImage(key string) bool {
	if upperCaseKey.MatchString(key) {
		words := strings.FieldsFunc(key, func(r rune) bool { return r == '_' || r == '-' || r == '.' })
		return slices.Contains(words, "IMAGE") || slices.Contains(words, "IMG")
	}
	n := strings.TrimLeft(normal(key), "/")
	for _, ending := range []string{"image", "imagename", "imageref", "imagereference", "imageuri", "imageurl", "img"} {
		if strings.HasSuffix(n, ending) {
			return true
		}
	}
	return false
}
