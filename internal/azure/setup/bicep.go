package setup

import (
	"fmt"
	"strings"
)

// bicep writes the template in Bicep. https://learn.microsoft.com/azure/azure-resource-manager/bicep/file
func (t template) bicep() string {
	var b strings.Builder
	for _, p := range t.parameters {
		fmt.Fprintf(&b, "@description(%s)\nparam %s string", bicepValue(p.purpose, ""), p.name)
		if p.value != nil {
			fmt.Fprintf(&b, " = %s", bicepValue(p.value, ""))
		}
		b.WriteString("\n")
	}
	for _, r := range t.resources {
		b.WriteString("\n")
		r.bicep(&b)
	}
	for i, o := range t.outputs {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "output %s string = %s\n", o.name, o.value.bicep)
	}
	return b.String()
}

func (r resource) bicep(b *strings.Builder) {
	if r.purpose != "" {
		fmt.Fprintf(b, "// %s\n", r.purpose)
	}
	existing := ""
	if r.existing {
		existing = " existing"
	}
	fmt.Fprintf(b, "resource %s '%s@%s'%s = {\n", r.symbol, r.kind, r.version, existing)
	if r.parent != nil {
		fmt.Fprintf(b, "  parent: %s\n", r.parent.symbol)
	}
	if r.scope != nil {
		fmt.Fprintf(b, "  scope: %s\n", r.scope.symbol)
	}
	fmt.Fprintf(b, "  name: %s\n", bicepValue(r.name, ""))
	if r.located {
		b.WriteString("  location: location\n")
	}
	if len(r.properties) > 0 {
		b.WriteString("  properties: {\n")
		for _, p := range r.properties {
			fmt.Fprintf(b, "    %s: %s\n", p.name, bicepValue(p.value, "    "))
		}
		b.WriteString("  }\n")
	}
	if r.after != nil {
		fmt.Fprintf(b, "  dependsOn: [\n    %s\n  ]\n", r.after.symbol)
	}
	b.WriteString("}\n")
}

// bicepValue writes a value; indent is that of its line.
func bicepValue(value any, indent string) string {
	switch v := value.(type) {
	case expression:
		return v.bicep
	case []string:
		var b strings.Builder
		b.WriteString("[\n")
		for _, one := range v {
			fmt.Fprintf(&b, "%s  %s\n", indent, bicepValue(one, ""))
		}
		return b.String() + indent + "]"
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, `${`, `\${`).Replace(fmt.Sprint(value)) + "'"
}
