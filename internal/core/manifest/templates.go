package manifest

import (
	"context"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest/edit"
)

// collectTemplates notes the templates of a chart. It returns [fs.SkipDir]: they are not manifests.
func (p *planner) collectTemplates(ctx context.Context, dir string) error {
	err := fs.WalkDir(p.fsys, dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fs.SkipDir // it is not edited, so that it is no reason against the edit
		case !d.Type().IsRegular():
			return nil
		}
		switch strings.ToLower(path.Ext(name)) {
		case ".yaml", ".yml", ".tpl":
			p.templates = append(p.templates, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return fs.SkipDir
}

// inTemplates returns what names the image in the templates of charts, as far as its repository is written there.
func (p *planner) inTemplates(ctx context.Context) ([]Remaining, error) {
	var out []Remaining
	err := p.each(ctx, p.templates, func(name string, content []byte) error {
		if !edit.MayHold(content, p.traces) {
			return nil
		}
		text := templateComment.ReplaceAllStringFunc(string(content), func(comment string) string {
			return strings.Repeat("\n", strings.Count(comment, "\n"))
		})
		for i, line := range strings.Split(text, "\n") {
			for _, m := range p.mentions(withoutComment(line)) {
				p.mu.Lock()
				out = append(out, Remaining{File: p.shown(name), Line: i + 1, Key: m.key, Text: m.text})
				p.mu.Unlock()
			}
		}
		return nil
	})
	return out, err
}

var (
	templateComment = regexp.MustCompile(`(?s)\{\{-?\s*/\*.*?\*/\s*-?\}\}`)
	// The host may be an expression of the template: {{ .Values.registry }}/shop/web
	templateRepository = regexp.MustCompile(`(?:\{\{[^{}]*\}\}/)?(?:[A-Za-z0-9][\w.-]*(?::\d+)?/)*[A-Za-z0-9][\w.-]*`)
	templateVersion    = regexp.MustCompile(`^([:@][\w.:@-]*)?(\{\{[^{}]*\}\})?`)
	templateControl    = regexp.MustCompile(`^\{\{-?\s*(?:if|else|end|with|range)\b`)
	templateKey        = regexp.MustCompile(`([\w./-]+)["']?:\s`)
)

// withoutComment cuts a YAML comment off a line.
func withoutComment(line string) string {
	quote := byte(0)
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

// templateMention is a reference in a line of a template.
type templateMention struct {
	key  string // for messages
	text string
}

// mentions returns the references to the image in a line of a template, except the target itself.
func (p *planner) mentions(line string) []templateMention {
	var out []templateMention
	for from := 0; ; {
		at := templateRepository.FindStringIndex(line[from:])
		if at == nil {
			return out
		}
		start, end := from+at[0], from+at[1]
		from = end
		repository := line[start:end]
		key := ""
		if keys := templateKey.FindAllStringSubmatch(line[:start], -1); keys != nil {
			key = keys[len(keys)-1][1]
		}
		if !p.namedBy(repository, key) || !mayStart(line[:start], repository) {
			continue
		}
		m := templateVersion.FindStringSubmatch(line[end:])
		literal, expression := strings.TrimRight(m[1], ".:@-"), m[2]
		text := repository + literal
		switch {
		case templateControl.MatchString(expression) && literal != "": // {{ else }}
		case expression != "" && !templateControl.MatchString(expression):
			text = repository + m[1] + expression
			literal = ""
			from += len(m[0])
		case expression == "" && literal == "" && !standsAlone(line, start, end):
			continue
		}
		if literal == "" && len(p.want.Keys()) > 0 || same(ref.Read(text), p.want.Image()) {
			continue // the user has named the keys of what the template adds
		}
		out = append(out, templateMention{strings.TrimSuffix("template: "+key, ": "), text})
	}
}

// namedBy reports whether a repository in a template is the one that is meant. A name without a path is a word like others:
// it must be the value of a key that says that it is an image.
func (p *planner) namedBy(repository, key string) bool {
	if _, rest, found := strings.Cut(repository, "}}/"); found {
		_, image := p.want.Image().Canonical()
		return rest == image && strings.Contains(rest, "/")
	}
	return p.want.Matches(repository) && (strings.Contains(repository, "/") || strings.HasSuffix(strings.ToLower(key), "image"))
}

// mayStart reports whether a reference may begin behind a text: it is no part of a longer word.
func mayStart(before, repository string) bool {
	if before == "" || strings.HasSuffix(before, "://") {
		return true
	}
	if strings.HasSuffix(before, "}") {
		return (ref.Ref{Repository: repository}).Host() != ""
	}
	return !strings.ContainsAny(before[len(before)-1:], "/.:@-_$")
}

// standsAlone reports whether a repository without a version is a whole value: a string, or what stands behind a key.
func standsAlone(line string, start, end int) bool {
	before, after := line[:start], strings.TrimSpace(line[end:])
	if after != "" && !slices.Contains([]byte(`"',}]`), after[0]) {
		return false
	}
	if strings.HasSuffix(before, `"`) || strings.HasSuffix(before, "'") {
		return true
	}
	before = strings.TrimSpace(before)
	return before == "" || strings.HasSuffix(before, ":") || strings.HasSuffix(before, "-")
}
