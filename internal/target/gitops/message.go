package gitops

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
)

const bumpMessage = `Deliver {{.Name}} {{.Version}}{{if ne .Path "."}} to {{.Path}}{{end}}

{{range .Changes}}{{.File}}:{{.Line}}: {{with .From}}{{.}}{{else}}(not set){{end}} -> {{.To}}
{{end}}`

const rollbackMessage = `Roll back {{.Name}}{{if ne .Path "."}} in {{.Path}}{{end}}

{{range .Changes}}{{.File}}:{{.Line}}: {{.From}} -> {{with .To}}{{.}}{{else}}(not set){{end}}
{{end}}`

const pullRequestBody = `| file | from | to |
|---|---|---|
{{range .Changes}}| ` + "`{{.File}}:{{.Line}}`" + ` | {{with .From}}` + "`{{.}}`" + `{{else}}(not set){{end}} | ` + "`{{.To}}`" + ` |
{{end}}
{{with .SourceRevision}}Source: {{.}}
{{end}}{{with .PipelineRun}}Pipeline: {{.}}
{{end}}{{with .Evidence}}
{{.}}
{{end}}{{with .Rendered}}
<details><summary>What changes in the objects</summary>

` + "```diff" + `
{{.}}` + "```" + `

</details>
{{end}}`

// Trailers of the commits. The trailer Image marks a commit that delivers an image.
const (
	trailerImage   = "Image"
	trailerSource  = "Source-Revision"
	trailerRun     = "Pipeline-Run"
	trailerSignOff = "Signed-off-by"
	// revertsSentence is what git itself writes. A commit with it is a rollback, not a delivery.
	revertsSentence = "This reverts commit "
)

// author returns the author of the commits.
func (o BumpOptions) author() git.Author {
	access := o.Remote.Access
	return git.Author{
		Name:  cmp.Or(o.Author.Name, access.AuthorName, "aksflow"),
		Email: cmp.Or(o.Author.Email, access.AuthorEmail, "aksflow@users.noreply.github.com"),
	}
}

// data returns what the templates can use.
func (o BumpOptions) data(changes []manifest.Change) MessageData {
	image := ref.Read(o.Target.Image)
	version := image.Tag
	if _, hex, found := strings.Cut(image.Digest, ":"); version == "" && found {
		version = hex[:min(len(hex), 12)]
	}
	return MessageData{
		Name: image.Name(), Image: o.Target.Image, Tag: image.Tag, Digest: image.Digest, Version: version,
		Path: pathOrRoot(o.Path), Branch: o.Branch, Changes: changes, SourceRevision: o.SourceRevision, PipelineRun: o.PipelineRun, Evidence: o.Evidence,
	}
}

func pathOrRoot(path string) string {
	return cmp.Or(strings.Trim(path, "/"), ".")
}

// fill executes a template.
func fill(name, text string, data MessageData) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fault.Usagef("the %s template is not valid: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return "", fault.Usagef("the %s template cannot be filled: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

// message returns a commit message: subject, body, trailers.
func (o BumpOptions) message(text string, changes []manifest.Change) (string, error) {
	body, err := fill("message", text, o.data(changes))
	if err != nil {
		return "", err
	}
	if body == "" {
		return "", fault.Usagef("the message template gives an empty message")
	}
	if o.SkipCI {
		subject, rest, _ := strings.Cut(body, "\n")
		body = strings.TrimRight(subject+" [skip ci]\n"+rest, "\n")
	}
	trailers := []string{trailerImage + ": " + o.Target.Image}
	if o.SourceRevision != "" {
		trailers = append(trailers, trailerSource+": "+o.SourceRevision)
	}
	if o.PipelineRun != "" {
		trailers = append(trailers, trailerRun+": "+o.PipelineRun)
	}
	if o.SignOff {
		author := o.author()
		trailers = append(trailers, fmt.Sprintf("%s: %s <%s>", trailerSignOff, author.Name, author.Email))
	}
	return body + "\n\n" + strings.Join(trailers, "\n") + "\n", nil
}

// imageTrailer returns the image that a commit made by Bump or Rollback sets; "" for other commits.
func imageTrailer(message string) string {
	for line := range strings.Lines(message) {
		if image, found := strings.CutPrefix(strings.TrimSpace(line), trailerImage+": "); found {
			return image
		}
	}
	return ""
}

// messages returns the message of a commit, and those of the commits that it merges.
func messages(c *git.Clone, commit *object.Commit) []string {
	out := []string{commit.Message}
	for i := 1; i < len(commit.ParentHashes); i++ {
		if merged, err := c.Commit(commit.ParentHashes[i]); err == nil {
			out = append(out, merged.Message)
		}
	}
	return out
}

// delivers reports whether a commit delivers an image, itself or by merging a commit that does. A rollback does not.
func delivers(c *git.Clone, commit *object.Commit) bool {
	return slices.ContainsFunc(messages(c, commit), func(message string) bool {
		return imageTrailer(message) != "" && !strings.Contains(message, revertsSentence)
	})
}
