package adopt

import (
	"embed"
	"fmt"
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

// None is the answer that no pipeline is wanted.
const None = "none"

// CheckSystem returns an error for what is neither the name of a CI system nor None.
func CheckSystem(name string) error {
	if all := append(Systems(), None); !slices.Contains(all, name) {
		return fmt.Errorf("%q: want %s", name, strings.Join(all, ", "))
	}
	return nil
}

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
		return "", "", fault.Usagef("--ci %w", CheckSystem(system))
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

// written begins each of the pipelines, which says that one that is there is aksflow's.
var written = regexp.MustCompile(`\A(#|//) Delivers as aksflow.yaml says\.`)

// besideOther returns the name for a pipeline whose usual name another pipeline has, and notices what makes the CI system run it.
func (r *Repository) besideOther(system, name string) string {
	text, err := r.read(name)
	if err != nil || written.Match(text) {
		return name
	}
	at, remedy := "", ""
	switch system {
	case GitHub:
		at, remedy = ".github/workflows/aksflow.yml", "it runs beside that one"
	case AzurePipelines:
		at, remedy = "azure-pipelines.aksflow.yml", "make a pipeline of that file in Azure DevOps"
	case GitLab:
		at = ".gitlab/aksflow.gitlab-ci.yml"
		remedy = "name it there, as in include: [{local: " + at + "}]"
	case Jenkins:
		at, remedy = "Jenkinsfile.aksflow", "make a job that has it as its script path"
	}
	r.notice("%s is another pipeline, and stays as it is: the one that delivers is proposed as %s; %s", name, at, remedy)
	return at
}

// pattern is a regular expression for the names of branches, for between two slashes.
func pattern(branches []string) string {
	alternatives := slices.Clone(branches)
	for i, b := range alternatives {
		alternatives[i] = strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(b), `\*`, "[^/]*"), "/", `\/`)
	}
	return "^(" + strings.Join(alternatives, "|") + ")$"
}
