package declared

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// bakeName matches the files that Docker Buildx takes by itself.
var bakeName = regexp.MustCompile(`^docker-bake\.(hcl|json)$`)

// bakeSchema are the blocks of a file, and bakeTarget are the attributes of a target that are looked at.
// https://docs.docker.com/build/bake/reference/
func bakeSchema() *hcl.BodySchema {
	return &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "variable", LabelNames: []string{"name"}}, {Type: "target", LabelNames: []string{"name"}}}}
}

func bakeTarget() *hcl.BodySchema {
	schema := &hcl.BodySchema{}
	for _, name := range []string{"inherits", "context", "dockerfile", "target", "args", "tags", "output", "matrix", "dockerfile-inline"} {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: name})
	}
	return schema
}

// bakeFile are the targets of a file, and the values of its variables.
type bakeFile struct {
	variables map[string]cty.Value
	targets   map[string]hcl.Attributes
	inherited map[string]bool
	whole     map[string]hcl.Attributes // those of targets with what they inherit
}

// bake reads a file of Docker Buildx.
func (r *reader) bake(name string) {
	text, err := r.read(name)
	if err != nil {
		return
	}
	parse := hclparse.NewParser().ParseHCL
	if path.Ext(name) == ".json" {
		parse = hclparse.NewParser().ParseJSON
	}
	file, wrong := parse(text, name)
	if wrong.HasErrors() {
		r.notice("%s cannot be read: %v", name, wrong)
		return
	}
	content, _, _ := file.Body.PartialContent(bakeSchema()) // what is not known of it is left out
	bake := &bakeFile{variables: map[string]cty.Value{}, targets: map[string]hcl.Attributes{}, inherited: map[string]bool{}, whole: map[string]hcl.Attributes{}}
	for _, block := range content.Blocks {
		if block.Type == "variable" {
			bake.variable(block)
			continue
		}
		target, _, _ := block.Body.PartialContent(bakeTarget())
		bake.targets[block.Labels[0]] = target.Attributes
		for _, parent := range bake.strings(target.Attributes["inherits"]) {
			bake.inherited[parent] = true
		}
	}
	bare := map[[2]string]bool{} // Dockerfiles and stages of targets without a tag
	for _, key := range slices.Sorted(maps.Keys(bake.targets)) {
		i, found := bake.image(name, key, path.Dir(name))
		if found && r.missing(i.Dockerfile) {
			if above, _ := bake.image(name, key, "."); !r.missing(above.Dockerfile) {
				i = above // paths are relative to where Buildx is started
			}
		}
		if id := [2]string{i.Dockerfile, i.Target}; !found || i.Reference == "" && (bake.inherited[key] || bare[id]) {
			continue
		} else if i.Reference == "" {
			bare[id] = true
		}
		r.images = append(r.images, i)
	}
}

// variable takes up the default value of a variable. Those before it may stand in it.
func (b *bakeFile) variable(block *hcl.Block) {
	content, _, _ := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "default"}}})
	value := cty.StringVal("")
	if attribute := content.Attributes["default"]; attribute != nil {
		if v, wrong := attribute.Expr.Value(b.context()); !wrong.HasErrors() && !v.IsNull() {
			value = v
		}
	}
	b.variables[block.Labels[0]] = value
}

func (b *bakeFile) context() *hcl.EvalContext { return &hcl.EvalContext{Variables: b.variables} }

// attributes are those of a target with what it inherits: a later parent wins over an earlier one.
func (b *bakeFile) attributes(name string) hcl.Attributes {
	if all, known := b.whole[name]; known {
		return all
	}
	all, own := hcl.Attributes{}, b.targets[name]
	maps.Copy(all, own)
	b.whole[name] = all // before the parents: targets may inherit each other
	for _, parent := range b.strings(own["inherits"]) {
		maps.Copy(all, b.attributes(parent))
	}
	maps.Copy(all, own)
	return all
}

// image is what a target says, with its paths relative to dir; found reports whether it makes an image from a Dockerfile of the
// repository.
func (b *bakeFile) image(file, key, dir string) (i Image, found bool) {
	all := b.attributes(key)
	for _, output := range b.strings(all["output"]) {
		if !bakeImage.MatchString(output) {
			return i, false
		}
	}
	context := cmp.Or(b.string(all["context"]), ".")
	if all["dockerfile-inline"] != nil || all["matrix"] != nil && len(b.strings(all["tags"])) == 0 || strings.Contains(context, "://") {
		return i, false
	}
	i = Image{File: file, Name: key, Context: path.Join(dir, context), Target: b.string(all["target"])}
	i.Dockerfile = path.Join(i.Context, cmp.Or(b.string(all["dockerfile"]), "Dockerfile"))
	for _, tag := range b.strings(all["tags"]) {
		i.Reference = tag
		break
	}
	i.Args = map[string]string{}
	if args := all["args"]; args != nil {
		pairs, _ := hcl.ExprMap(args.Expr)
		for _, pair := range pairs {
			name, value := b.text(pair.Key), b.text(pair.Value)
			if value != "" {
				i.Args[name] = value
			} else if name != "" {
				i.Unset = append(i.Unset, name)
			}
		}
	}
	slices.Sort(i.Unset)
	return i, true
}

// bakeImage matches outputs that are images.
var bakeImage = regexp.MustCompile(`type=(image|docker|registry|oci)\b`)

// text is the value of an expression as text; "" for one that is not known.
func (b *bakeFile) text(e hcl.Expression) string {
	value, wrong := e.Value(b.context())
	if wrong.HasErrors() {
		return ""
	}
	value, err := convert.Convert(value, cty.String)
	if err != nil || value.IsNull() || !value.IsKnown() {
		return ""
	}
	return value.AsString()
}

func (b *bakeFile) string(a *hcl.Attribute) string {
	if a == nil {
		return ""
	}
	return b.text(a.Expr)
}

// strings are the elements of a list that are known.
func (b *bakeFile) strings(a *hcl.Attribute) (all []string) {
	if a == nil {
		return nil
	}
	elements, _ := hcl.ExprList(a.Expr)
	for _, e := range elements {
		if text := b.text(e); text != "" {
			all = append(all, text)
		}
	}
	return all
}
