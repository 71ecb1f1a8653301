package embedded

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostdirs"
	"github.com/aksflow/aksflow/internal/engine/embedded/secretstore"
)

// offline is an engine without a daemon: it answers what needs none.
func offline(t testing.TB) *Engine {
	e := &Engine{
		secrets: &secretstore.Store{},
		hosts:   hostdirs.New(shimName, "/bin"),
		base:    t.Context(),
	}
	e.services.engine = e
	e.api = api.New(e.base, e)
	return e
}

// ask answers one query.
func ask(t testing.TB, e *Engine, query string) (data map[string]any, message string) {
	t.Helper()
	return askOf(t, e.Do, query)
}

func askOf(t testing.TB, do func(*http.Request) (*http.Response, error), query string) (data map[string]any, message string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://engine/query", strings.NewReader(string(body)))
	require.NoError(t, err)
	response, err := do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, http.StatusOK, response.StatusCode)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var answer struct {
		Data   map[string]any
		Errors []struct{ Message string }
	}
	require.NoError(t, json.Unmarshal(text, &answer))
	for _, e := range answer.Errors {
		message += e.Message + "\n"
	}
	return answer.Data, message
}

// Every field of the schema is implemented, and nothing else is.
func TestSchemaIsWhatIsServed(t *testing.T) {
	served := map[string]bool{}
	for name, typ := range api.Schema.Types {
		if typ.Kind != ast.Object || strings.HasPrefix(name, "__") {
			continue
		}
		for _, f := range typ.Fields {
			key := name + "." + f.Name
			result := api.Schema.Types[f.Type.Name()]
			switch {
			case strings.HasPrefix(f.Name, "__") || f.Name == "id" || key == "Query.node" || key == "Container.terminal":
			case result.Kind != ast.Object:
				served[key] = true
				assert.Contains(t, leaves, key)
			case name == "Container" && f.Type.Name() == "Container":
				served[key] = true
				assert.Contains(t, containerChanges, f.Name)
			}
		}
	}
	for key := range leaves {
		assert.True(t, served[key], "%s is not in the schema", key)
	}
	for name := range containerChanges {
		assert.True(t, served["Container."+name], "Container.%s is not in the schema", name)
	}
	for name := range keepsImage {
		assert.Contains(t, containerChanges, name)
	}
}

func TestWhatIsNotServedIsNamed(t *testing.T) {
	e := offline(t)
	for query, want := range map[string]string{
		`{container{withAnnotation(name:"x",value:"y"){id}}}`:    `"withAnnotation" on type "Container"`,
		`{container{from(address:"x",registryService:"y"){id}}}`: `"registryService" on field "Container.from"`,
		`{llm{id}}`: `"llm" on type "Query"`,
	} {
		_, message := ask(t, e, query)
		assert.Contains(t, message, want)
		assert.Contains(t, message, "the embedded engine does not have it. If Dagger v0.21 does, run on a Dagger engine (--engine dagger); if not, update the program's SDK")
	}
}

func TestNestedSessionsReachNoHost(t *testing.T) {
	e := offline(t)
	_, message := askOf(t, e.api.DoNested, `{directory{withNewFile(path:"f",contents:"x"){id}}}`)
	assert.Empty(t, message)
	for query, field := range map[string]string{
		`{host{directory(path:"/etc"){id}}}`:          "host",
		`{secret(uri:"env://HOME"){plaintext}}`:       "secret",
		`{address(value:"tcp://127.0.0.1:22"){id}}`:   "address",
		`{...on Query{h:host{file(path:"/f"){id}}}}`:  "host",
		`{directory{export(path:"/tmp/never-made")}}`: "export",
		`{container{export(path:"/tmp/never-made")}}`: "export",
	} {
		_, message := askOf(t, e.api.DoNested, query)
		assert.Contains(t, message, field+": on the embedded engine, a session in a container", query)
	}
}

func TestIDs(t *testing.T) {
	e := offline(t)
	id := func(query string) string {
		t.Helper()
		data, message := ask(t, e, query)
		require.Empty(t, message)
		for {
			for _, v := range data {
				if s, ok := v.(string); ok {
					return s
				}
				data = v.(map[string]any)
			}
		}
	}
	one := id(`{directory{withNewFile(path:"a",contents:"b"){id}}}`)
	assert.Equal(t, one, id(`{directory{withNewFile(contents:"b",path:"a"){id}}}`), "in another order")
	assert.Equal(t, one, id(`{directory{withNewFile(path:"a",contents:"b",permissions:420){id}}}`), "the default, said")
	assert.NotEqual(t, one, id(`{directory{withNewFile(path:"a",contents:"c"){id}}}`))
	assert.Regexp(t, "^[0-9a-f]{64}$", one)

	back := id(`{node(id:"` + one + `"){... on Directory{id}}}`)
	assert.Equal(t, one, back)
	assert.Equal(t, "Directory", id(`{node(id:"`+one+`"){... on Directory{__typename}}}`))
	data, message := ask(t, e, `{node(id:"`+one+`"){... on Container{id}}}`)
	assert.Empty(t, message)
	assert.Empty(t, data["node"], "a fragment of another type")
	_, message = ask(t, e, `{container{import(source:5){id}}}`)
	assert.Contains(t, message, `no object with the ID "5"`)
	_, message = ask(t, e, `{node(id:5){id}}`)
	assert.Contains(t, message, `no object with the ID "5"`)
	_, message = ask(t, e, `{node(id:"none"){id}}`)
	assert.Contains(t, message, "none")
	_, message = ask(t, e, `{container{withMountedDirectory(path:"/x",source:"`+id(`{container{id}}`)+`"){id}}}`)
	assert.Contains(t, message, "wants a Directory; this is the ID of a Container")

	host := `{host{directory(path:"/x",noCache:true){id}}}`
	assert.NotEqual(t, id(host), id(host), "read again each time")
	assert.Equal(t, id(`{host{directory(path:"/x"){id}}}`), id(`{host{directory(path:"/x",noCache:false){id}}}`))
}

func TestSecretsStayHidden(t *testing.T) {
	e := offline(t)
	const plain = "correct horse"
	data, message := ask(t, e, `{setSecret(name:"s",plaintext:"`+plain+`"){id}}`)
	require.Empty(t, message)
	id := data["setSecret"].(map[string]any)["id"].(string)
	assert.NotContains(t, id, plain)
	for _, query := range []string{
		`{setSecret(name:"s",plaintext:"` + plain + `"){nonsense}}`,
		`{setSecret(name:1,plaintext:"` + plain + `"){id}}`,
		`{setSecret(name:"s",plaintext:"` + plain + `"`,
		`{setSecret(name:"s",plaintext:"` + plain + `",plaintext:"` + plain + `"){id}}`,
		`{setSecret(name:"s" "` + plain + `"){id}}`,
	} {
		_, message := ask(t, e, query)
		assert.NotEmpty(t, message)
		assert.NotContains(t, message, plain)
	}
}

func TestCanceledRequestFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/query", strings.NewReader(`{"query":"{directory{entries}}"}`))
	require.NoError(t, err)
	_, err = offline(t).Do(r)
	assert.ErrorIs(t, err, context.Canceled)
}

func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		`query Query {container{from(address:"a"){id}}}`,
		`{host{directory(path:"x",exclude:["a","b"]){dockerBuild(buildArgs:[{name:"A",value:"B"}]){id}}}}`,
		`{node(id:"x"){... on Container{id}}}`,
		`query($a:String!){container{from(address:$a){id}}}`,
		`fragment f on Query{version} {...f}`,
		`mutation {x}`,
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "{") && !strings.Contains(query, "id") {
			return // leaves need a daemon
		}
		for name := range leaves {
			if strings.Contains(query, name[strings.IndexByte(name, '.')+1:]) {
				return
			}
		}
		ask(t, offline(t), query)
	})
}
