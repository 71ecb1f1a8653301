package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

// nothing is a backend without fields.
type nothing struct{}

func (nothing) Leaf(string) api.Leaf            { return nil }
func (nothing) Count(string) api.Leaf           { return nil }
func (nothing) Hide(text string) string         { return text }
func (nothing) Extensions(error) map[string]any { return nil }

func ask(t *testing.T, query string) map[string]any {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://engine/query", strings.NewReader(string(body)))
	require.NoError(t, err)
	response, err := api.New(t.Context(), nothing{}).Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct{ Data, Errors any }
	require.NoError(t, json.Unmarshal(text, &answer))
	require.Nil(t, answer.Errors)
	return answer.Data.(map[string]any)
}

// The fields and fragments are those of the query that GraphQL's own libraries send.
func TestIntrospection(t *testing.T) {
	schema := ask(t, `query IntrospectionQuery {
		__schema { queryType { name } mutationType { name } subscriptionType { name } types { ...FullType } directives { name description locations args { ...InputValue } } }
	}
	fragment FullType on __Type {
		kind name description
		fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
		inputFields { ...InputValue }
		interfaces { ...TypeRef }
		enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
		possibleTypes { ...TypeRef }
	}
	fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
	fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`)["__schema"].(map[string]any)
	assert.Equal(t, "Query", schema["queryType"].(map[string]any)["name"])
	assert.Nil(t, schema["mutationType"])
	types := map[string]map[string]any{}
	for _, typ := range schema["types"].([]any) {
		types[typ.(map[string]any)["name"].(string)] = typ.(map[string]any)
	}
	for name, kind := range map[string]string{
		"Container": "OBJECT", "Node": "INTERFACE", "ReturnType": "ENUM", "BuildArg": "INPUT_OBJECT", "Platform": "SCALAR", "String": "SCALAR",
	} {
		require.Contains(t, types, name)
		assert.Equal(t, kind, types[name]["kind"], name)
	}
	var withExec map[string]any
	for _, f := range types["Container"]["fields"].([]any) {
		if f := f.(map[string]any); f["name"] == "withExec" {
			withExec = f
		}
	}
	args := withExec["args"].([]any)[0].(map[string]any)
	assert.Equal(t, "args", args["name"])
	assert.Equal(t, map[string]any{"kind": "NON_NULL", "name": nil, "ofType": map[string]any{
		"kind": "LIST", "name": nil, "ofType": map[string]any{"kind": "NON_NULL", "name": nil, "ofType": map[string]any{"kind": "SCALAR", "name": "String"}},
	}}, args["type"])
	assert.NotEmpty(t, types["Node"]["possibleTypes"])

	assert.Equal(t, map[string]any{"name": "Container", "kind": "OBJECT"}, ask(t, `{__type(name:"Container"){name kind}}`)["__type"])
	assert.Nil(t, ask(t, `{__type(name:"None"){name}}`)["__type"])
}

func TestFragments(t *testing.T) {
	answer := ask(t, `{directory{...named}} fragment named on Directory {__typename}`)
	assert.Equal(t, map[string]any{"__typename": "Directory"}, answer["directory"])
}
