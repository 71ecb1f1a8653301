package adopt

import (
	"embed"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/aksflow/aksflow/internal/core/fault"
)

//go:embed pipelines
var pipelines embed.FS

// The CI systems that a pipeline can be written for.
const (
	GitHub         = "github"
	AzurePipelines = "azure-pipelines"
	GitLab         = "gitlab"
	Jenkins        = "jenkins"
)

// Systems returns the names of the CI systems.
func Systems() []string { return []string{GitHub, AzurePipelines, GitLab, Jenkins} }

// pipeline is the file of a CI system that delivers what each aksflow.yaml says, from the branches of their environments.
func pipeline(system string, configs, branches []string) (name, content string, err error) {
	files := map[string][2]string{ // where the file is, and its template
		GitHub:         {".github/workflows/deliver.yml", "github.yml"},
		AzurePipelines: {"azure-pipelines.yml", "azure-pipelines.yml"},
		GitLab:         {".gitlab-ci.yml", "gitlab-ci.yml"},
		Jenkins:        {"Jenkinsfile", "Jenkinsfile"},
	}
	file, known := files[system]
	if !known {
		return "", "", fault.Usagef("--ci %q: want %s", system, strings.Join(Systems(), ", "))
	}
	t, err := template.New(file[1]).Delims("<<", ">>").Funcs(template.FuncMap{
		"branches": func() string { return quoted(branches) },
		"pattern":  func() string { return pattern(branches) },
		"configs":  func() []string { return configs },
		"first":    func() string { return configs[0] },
		"several":  func() bool { return len(configs) > 1 },
	}).ParseFS(pipelines, "pipelines/"+file[1])
	if err != nil {
		return "", "", err
	}
	var out strings.Builder
	err = t.Execute(&out, nil)
	return file[0], out.String(), err
}

// pattern is a regular expression for the names of branches, for between two slashes.
func pattern(branches []string) string {
	alternatives := slices.Clone(branches)
	for i, b := range alternatives {
		alternatives[i] = strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(b), `\*`, "[^/]*"), "/", `\/`)
	}
	return "^(" + strings.Join(alternatives, "|") + ")$"
}
