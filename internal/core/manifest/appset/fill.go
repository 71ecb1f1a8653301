package appset

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

// placeholder is {{name}} in a template that is no Go template.
var placeholder = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// fillPlain replaces each {{name}} that is known. Argo CD leaves the others as they are.
func fillPlain(text string, p parameters) (string, error) {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		value, known := p[placeholder.FindStringSubmatch(found)[1]]
		if !known {
			return found
		}
		return fmt.Sprint(value)
	}), nil
}

// functions are those of Go templates that file names and tags are commonly made with. Argo CD has all of Sprig; a template
// that uses another one is not expanded.
var functions = template.FuncMap{
	"default": func(fallback, value any) any {
		if value == nil || value == "" {
			return fallback
		}
		return value
	},
	"lower":      strings.ToLower,
	"upper":      strings.ToUpper,
	"trim":       strings.TrimSpace,
	"quote":      func(value any) string { return fmt.Sprintf("%q", fmt.Sprint(value)) },
	"replace":    func(old, with, text string) string { return strings.ReplaceAll(text, old, with) },
	"trimPrefix": func(prefix, text string) string { return strings.TrimPrefix(text, prefix) },
	"trimSuffix": func(suffix, text string) string { return strings.TrimSuffix(text, suffix) },
	"normalize":  normalized,
}

// goFiller returns what fills Go templates, with the options of an ApplicationSet.
func goFiller(options []string) func(string, parameters) (string, error) {
	return func(text string, p parameters) (out string, err error) {
		defer func() {
			if r := recover(); r != nil { // an option that there is not
				err = fmt.Errorf("its goTemplateOptions: %v", r)
			}
		}()
		t, err := template.New("").Option(options...).Funcs(functions).Parse(text)
		if err != nil {
			return "", fmt.Errorf("its template %q is not expanded offline: %w", text, err)
		}
		var b strings.Builder
		if err := t.Execute(&b, map[string]any(p)); err != nil {
			return "", fmt.Errorf("its template %q is not expanded offline: %w", text, err)
		}
		return b.String(), nil
	}
}
