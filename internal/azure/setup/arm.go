package setup

import (
	"bytes"
	"encoding/json"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// arm writes the template as JSON, with symbolic names as Bicep has them.
// https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
func (t template) arm() (string, error) {
	parameters, resources, outputs := object{}, object{}, object{}
	for _, p := range t.parameters {
		described := object{"type": "string", "metadata": object{"description": p.purpose}}
		if p.value != nil {
			described["defaultValue"] = armValue(p.value)
		}
		parameters[p.name] = described
	}
	for _, r := range t.resources {
		resources[r.symbol] = r.arm()
	}
	for _, o := range t.outputs {
		outputs[o.name] = object{"type": "string", "value": armValue(o.value)}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(object{
		"$schema":         "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"languageVersion": "2.0", "contentVersion": "1.0.0.0",
		"metadata":   object{"description": t.purpose},
		"parameters": parameters, "resources": resources, "outputs": outputs,
	})
	return b.String(), err
}

func (r resource) arm() object {
	o := object{"type": r.kind, "apiVersion": r.version, "name": armValue(r.name)}
	if r.existing {
		o["existing"] = true
	}
	if r.purpose != "" {
		o["comments"] = r.purpose
	}
	var after []string
	if r.parent != nil {
		o["name"] = armValue(r.parent.name + "/" + r.name)
		after = append(after, r.parent.symbol)
	}
	if r.after != nil {
		after = append(after, r.after.symbol)
	}
	if r.uses != nil {
		after = append(after, r.uses.symbol)
	}
	if after != nil {
		o["dependsOn"] = after
	}
	if r.scope != nil {
		o["scope"] = armValue(r.scope.kind + "/" + r.scope.name)
	}
	if r.located {
		o["location"] = armValue(parameterValue("location"))
	}
	if len(r.properties) > 0 {
		properties := object{}
		for _, p := range r.properties {
			properties[p.name] = armValue(p.value)
		}
		o["properties"] = properties
	}
	return o
}

// armValue writes a value. A string that begins with a bracket would be an expression.
func armValue(value any) any {
	switch v := value.(type) {
	case expression:
		return "[" + v.arm + "]"
	case string:
		if strings.HasPrefix(v, "[") {
			return "[" + v
		}
	}
	return value
}
