// Package appset expands the ApplicationSets of Argo CD without a cluster: lists, and directories and files of the git
// repository that the ApplicationSet is in, with the matrix and the merge of those.
package appset

import (
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parameters are what one generated Application is made with.
type parameters map[string]any

// set is the part of an ApplicationSet that is read.
type set struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Spec       struct {
		GoTemplate        bool     `yaml:"goTemplate"`
		GoTemplateOptions []string `yaml:"goTemplateOptions"`
		Generators        []generator
		Template          yaml.Node
		TemplatePatch     string `yaml:"templatePatch"`
	}
}

// Is reports whether a document is an ApplicationSet.
func Is(document *yaml.Node) bool {
	var s struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
	}
	return document.Decode(&s) == nil && s.Kind == "ApplicationSet" && strings.HasPrefix(s.APIVersion, "argoproj.io/")
}

// Expand returns the templates of an ApplicationSet's Applications, filled in: mappings with metadata and spec. repository
// is what the git generators read. The error says what needs more than the repository.
func Expand(document *yaml.Node, repository fs.FS) ([]*yaml.Node, error) {
	var s set
	if err := document.Decode(&s); err != nil {
		return nil, err
	}
	if s.Spec.TemplatePatch != "" {
		return nil, fmt.Errorf("its templatePatch is not applied offline")
	}
	e := expander{repository: repository, fill: fillPlain}
	if s.Spec.GoTemplate {
		e.fill = goFiller(s.Spec.GoTemplateOptions)
		e.structured = true
	}
	var out []*yaml.Node
	for _, g := range s.Spec.Generators {
		all, err := e.generate(g, nil)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			filled, err := e.node(&s.Spec.Template, p)
			if err != nil {
				return nil, err
			}
			out = append(out, filled)
		}
	}
	return out, nil
}

// expander expands the generators of one ApplicationSet.
type expander struct {
	repository fs.FS
	fill       func(text string, p parameters) (string, error)
	structured bool // parameters keep their structure, as Go templates read them
}

// node returns a copy of n with the parameters filled into its texts.
func (e expander) node(n *yaml.Node, p parameters) (*yaml.Node, error) {
	if n == nil {
		return nil, nil
	}
	if n.Kind == yaml.AliasNode {
		return e.node(n.Alias, p)
	}
	filled := *n
	filled.Anchor, filled.Content = "", nil
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "{{") {
		var err error
		if filled.Value, err = e.fill(n.Value, p); err != nil {
			return nil, err
		}
	}
	for _, child := range n.Content {
		c, err := e.node(child, p)
		if err != nil {
			return nil, err
		}
		filled.Content = append(filled.Content, c)
	}
	return &filled, nil
}

// with returns the parameters of both; those of more win.
func (p parameters) with(more parameters) parameters {
	out := maps.Clone(p)
	if out == nil {
		out = parameters{}
	}
	maps.Copy(out, more)
	return out
}
