package edit

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// pinFields is the entry of a kustomization's images: that makes a base's image the one Wanted.
func pinFields(repository string, image ref.Ref) []pairText {
	fields := []pairText{{"name", repository}}
	if image.Repository != repository {
		fields = append(fields, pairText{"newName", image.Repository})
	}
	if image.Tag != "" {
		fields = append(fields, pairText{"newTag", image.Tag})
	}
	if image.Digest != "" {
		fields = append(fields, pairText{"digest", image.Digest})
	}
	return fields
}

// pinner adds items behind those of the list images: of a kustomization, which is made when there is none. Where they go is
// decided before anything else is edited, and they are written after everything else.
type pinner struct {
	*editor
	items [][]pairText
	root  *yaml.Node
	at    int
	text  string
	extra *splice // images: ~ loses its ~
}

// pins returns what adds an entry for each repository; nil when there is none.
func (e *editor) pins(repositories []string, image ref.Ref) (*pinner, error) {
	if len(repositories) == 0 {
		return nil, nil
	}
	if len(e.docs) == 0 || len(e.docs[0].Content) == 0 || e.docs[0].Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: a kustomization is Wanted here", e.name)
	}
	p := &pinner{editor: e, root: e.docs[0].Content[0]}
	for _, repository := range repositories {
		p.items = append(p.items, pinFields(repository, image))
	}
	return p, p.place()
}

// place finds where the items go, and how they are written there.
func (p *pinner) place() (err error) {
	images := at(p.root, "images")
	switch {
	case images == nil && p.root.Style&yaml.FlowStyle != 0:
		if len(p.root.Content) == 0 {
			return fmt.Errorf("%s: cannot add images to this kustomization: write it with one key a line", p.name)
		}
		if p.at, err = p.end(p.root.Content[len(p.root.Content)-1]); err == nil {
			p.text = ", " + p.quoted(p.root, "images") + ": [" + p.flowItems() + "]"
		}
	case images == nil:
		p.newList()
	case images.Kind == yaml.ScalarNode && images.Tag == "!!null":
		var sp span
		if sp, err = p.scalar(images); err == nil {
			p.at, p.text = p.endOfLine(sp.end), p.newline()+p.blockItems(p.root.Content[0].Column-1)
			p.extra = &splice{start: sp.start, end: sp.end}
		}
	case images.Kind != yaml.SequenceNode:
		return fmt.Errorf("%s:%d: images is no list", p.name, images.Line)
	case images.Style&yaml.FlowStyle != 0 && len(images.Content) > 0:
		p.at, err = p.end(images.Content[len(images.Content)-1])
		p.text = ", " + p.flowItems()
	case images.Style&yaml.FlowStyle != 0:
		if p.at, err = p.end(images); err == nil {
			p.at--
			p.text = p.flowItems()
		}
	default:
		p.at, err = p.endOfBlockList(images)
		p.text = p.newline() + p.blockItems(images.Column-1)
	}
	return err
}

// endOfBlockList returns the end of the line on which a list's last item ends.
func (p *pinner) endOfBlockList(list *yaml.Node) (int, error) {
	end, err := p.end(list)
	return p.endOfLine(end), err
}

// newList adds the key images: with its items at the end of a kustomization.
func (p *pinner) newList() {
	indent := p.root.Column - 1
	items := indent
	for i := 1; i < len(p.root.Content); i += 2 {
		if list := p.root.Content[i]; list.Kind == yaml.SequenceNode && list.Style&yaml.FlowStyle == 0 {
			items = max(indent, list.Column-1) // as the author indents lists
			break
		}
	}
	p.text = strings.Repeat(" ", indent) + "images:" + p.newline() + p.blockItems(items)
	p.at = p.documentEnd()
	if p.at > 0 && p.content[p.at-1] != '\n' && p.content[p.at-1] != '\r' {
		p.text = p.newline() + p.text
	} else {
		p.text += p.newline()
	}
}

// write adds the splices, and does the same to the parsed document.
func (p *pinner) write() {
	if p.extra != nil && p.extra.start < p.extra.end {
		p.splices = append(p.splices, *p.extra)
	}
	p.splices = append(p.splices, splice{p.at, p.at, p.text})
	var nodes []*yaml.Node
	for _, fields := range p.items {
		item := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, field := range fields {
			item.Content = append(item.Content, newScalar(field.key), newScalar(field.value))
		}
		nodes = append(nodes, item)
	}
	switch images := at(p.root, "images"); {
	case images == nil:
		p.root.Content = append(p.root.Content, newScalar("images"), &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: nodes})
	case images.Kind == yaml.ScalarNode:
		*images = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: nodes}
	default:
		images.Content = slices.Concat(images.Content, nodes)
	}
}

// documentEnd returns where the only document's block content ends: at a line ... or the end of the stream.
func (e *editor) documentEnd() int {
	for i := len(e.lines) - 1; i > 0; i-- {
		if line := string(e.content[e.lines[i]:e.endOfLine(e.lines[i])]); strings.TrimRight(line, " \t") == "..." {
			return e.lines[i]
		}
	}
	return len(e.content)
}

// blockItems writes the entries as items with dashes, without a line break behind the last.
func (p *pinner) blockItems(indent int) string {
	var lines []string
	for _, fields := range p.items {
		mark := "- "
		for _, field := range fields {
			lines = append(lines, strings.Repeat(" ", indent)+mark+field.key+": "+p.written(field.value))
			mark = "  "
		}
	}
	return strings.Join(lines, p.newline())
}

// flowItems writes the entries as items in braces.
func (p *pinner) flowItems() string {
	var items []string
	for _, fields := range p.items {
		var parts []string
		for _, field := range fields {
			parts = append(parts, p.quoted(p.root, field.key)+": "+p.written(field.value))
		}
		items = append(items, "{"+strings.Join(parts, ", ")+"}")
	}
	return strings.Join(items, ", ")
}
