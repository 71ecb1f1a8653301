package declared

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// azdFile is the part of azure.yaml that is looked at.
// https://learn.microsoft.com/azure/developer/azure-developer-cli/azd-schema
type azdFile struct {
	Services map[string]azdService
}

type azdService struct {
	Project, Host, Language, Image string
	Docker                         struct {
		Path, Context, Target string
		BuildArgs             []string `yaml:"buildArgs"`
	}
	K8s struct {
		DeploymentPath string `yaml:"deploymentPath"`
		Kustomize      struct {
			Dir   string
			Edits []string
			Env   map[string]yaml.Node
		}
		Helm struct {
			Releases []struct{ Chart string }
		}
	}
}

// onKubernetes is the host of services that azd deploys to AKS.
const onKubernetes = "aks"

// setImage matches the edit of a kustomization that says how it names the image of the service.
var setImage = regexp.MustCompile(`^\s*set image ([^=\s]+)=`)

// azd reads azure.yaml.
func (r *reader) azd(name string) {
	text, err := r.read(name)
	if err != nil {
		return
	}
	var file azdFile
	if !r.decoded(name, yaml.Unmarshal(text, &file)) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(file.Services)) {
		s := file.Services[key]
		if !s.contained() {
			continue
		}
		project := path.Join(path.Dir(name), s.Project)
		if s.Project != "" && r.isFile(project) { // such as that of a project of .NET
			project = path.Dir(project)
		}
		image := Image{
			File: name, Name: key, Context: path.Join(project, s.Docker.Context), Dockerfile: path.Join(project, cmp.Or(s.Docker.Path, "Dockerfile")),
			Target: s.Docker.Target, Manifests: s.manifests(project),
		}
		for _, edit := range s.K8s.Kustomize.Edits {
			if m := setImage.FindStringSubmatch(edit); m != nil {
				image.Reference = m[1]
			}
		}
		if kustomize := s.K8s.Kustomize; kustomize.Dir != "" && len(kustomize.Env) > 0 {
			image.Written = path.Join(project, kustomize.Dir, ".env")
		}
		args := map[string]*string{}
		for _, arg := range s.Docker.BuildArgs {
			if name, value, set := strings.Cut(arg, "="); set {
				args[name] = &value
			} else {
				args[name] = nil
			}
		}
		image.Args, image.Unset = values(args)
		if r.missing(image.Dockerfile) {
			if s.Host != onKubernetes || s.Image != "" {
				continue // not an image that is built for Kubernetes
			}
			image.Dockerfile, image.Builder = "", "buildpacks"
		}
		r.images = append(r.images, image)
	}
}

// contained reports whether the service runs as an image: those of App Service, Functions and the like are built from source, even
// where a Dockerfile is in their directory.
func (s azdService) contained() bool {
	switch s.Host {
	case "", onKubernetes, "containerapp":
		return true
	}
	return s.Language == "docker" || s.Docker.Path != "" || s.Docker.Context != ""
}

// manifests are the paths that azd deploys to AKS.
func (s azdService) manifests(project string) []string {
	if s.Host != onKubernetes {
		return nil
	}
	all := []string{path.Join(project, cmp.Or(s.K8s.DeploymentPath, "manifests"))}
	if s.K8s.Kustomize.Dir != "" {
		all = append(all, path.Join(project, s.K8s.Kustomize.Dir))
	}
	for _, release := range s.K8s.Helm.Releases {
		all = append(all, path.Join(project, release.Chart))
	}
	return all
}
