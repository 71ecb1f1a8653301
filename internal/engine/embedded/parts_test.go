package embedded

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

func TestSecretNames(t *testing.T) {
	e := offline(t)
	set := func(name, value string) *api.Node {
		return e.api.Child(&api.Node{ID: "query", Type: "Query"}, "Secret", "setSecret", map[string]any{"name": name, "plaintext": value})
	}
	one, err := e.secret(set("token", "1"))
	require.NoError(t, err)
	again, err := e.secret(set("token", "1"))
	require.NoError(t, err)
	assert.Equal(t, one, again)
	two, err := e.secret(set("token", "2"))
	require.NoError(t, err)
	assert.NotEqual(t, one, two)
	for id, want := range map[string]string{one: "1", two: "2"} {
		got, err := e.secrets.GetSecret(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	require.NoError(t, e.buildSecret(set("token", "1")))
	assert.ErrorContains(t, e.buildSecret(set("token", "2")), "token")
	_, err = e.secrets.GetSecret(t.Context(), "other")
	assert.Error(t, err)
	_, err = e.secret(e.api.Child(&api.Node{ID: "query", Type: "Query"}, "Secret", "secret", map[string]any{"uri": "vault://x"}))
	assert.ErrorContains(t, err, "--engine dagger")
}

func TestServiceCommand(t *testing.T) {
	for _, test := range []struct {
		entrypoint, cmd []string
		defaultArgs     bool
		args            api.Args
		want            string
	}{
		{cmd: []string{"c"}, want: "c"},
		{entrypoint: []string{"e"}, cmd: []string{"c"}, want: "e c"},
		{entrypoint: []string{"e"}, want: "e"},
		{entrypoint: []string{"e"}, cmd: []string{"c"}, defaultArgs: true, want: "c"},
		{entrypoint: []string{"e"}, cmd: []string{"c"}, args: api.Args{"args": []any{"a"}}, want: "a"},
		{entrypoint: []string{"e"}, cmd: []string{"c"}, args: api.Args{"args": []any{"a"}, "useEntrypoint": true}, want: "e a"},
		{args: api.Args{"args": []any{"a"}}, want: "a"},
	} {
		c := &container{defaultArgs: test.defaultArgs}
		c.config.Config.Entrypoint, c.config.Config.Cmd = test.entrypoint, test.cmd
		got, err := c.serviceCommand(test.args)
		require.NoError(t, err)
		assert.Equal(t, test.want, strings.Join(got, " "), "%+v", test)
	}
	_, err := (&container{}).serviceCommand(nil)
	assert.Error(t, err)
}

func TestPorts(t *testing.T) {
	c := &container{ports: []port{{number: 9000, skip: true}}}
	c.config.Config.ExposedPorts = map[string]struct{}{"8080/tcp": {}, "53/udp": {}, "9000/tcp": {}, "odd": {}}
	assert.Equal(t, []port{{number: 9000, skip: true}, {number: 53, udp: true}, {number: 8080}}, c.allPorts())
}

func TestPlace(t *testing.T) {
	source := &tree{identity: "mounted"}
	c := &container{
		root: tree{identity: "root"},
		mounts: []mount{
			{path: "/m", source: source, dir: "/inside"},
			{path: "/m/cache", cache: "volume"},
			{path: "/s", secret: "id"},
		},
	}
	c.config.Config.WorkingDir = "/m/work"
	for p, want := range map[string]string{
		"/etc":     "root /etc",
		"/mother":  "root /mother",
		"/m":       "mounted /inside",
		"/m/a/../": "mounted /inside",
		"x":        "mounted /inside/work/x",
		"../../x":  "root /x",
	} {
		got, inside, err := c.place(p)
		require.NoError(t, err, p)
		assert.Equal(t, want, got.identity+" "+inside, p)
	}
	for _, p := range []string{"/m/cache/f", "/s"} {
		_, _, err := c.place(p)
		assert.Error(t, err, p)
	}
}

func TestExportTarget(t *testing.T) {
	dir := t.TempDir()
	got, err := exportTarget(api.Args{"path": filepath.Join(dir, "f")}, "name")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "f"), got)
	_, err = exportTarget(api.Args{"path": dir}, "name")
	assert.ErrorContains(t, err, "directory")
	got, err = exportTarget(api.Args{"path": dir, "allowParentDirPath": true}, "name")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "name"), got)
}
