package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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

func TestExecErrorShowsADockerfileStepsOutput(t *testing.T) {
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	e := &ExecError{Cmd: []string{"sh", "-c", "x"}, ExitCode: 3, Stdout: lines.String(), Place: "Dockerfile:2"}
	text := e.Error()
	assert.Contains(t, text, "Dockerfile:2: ")
	assert.Contains(t, text, "exit code: 3")
	assert.Contains(t, text, "… 60 lines before these …\nline 60\n")
	assert.Contains(t, text, "line 99")
	e.Place = ""
	assert.NotContains(t, e.Error(), "line 99", "whoever ran a command asks for its output")
	assert.Contains(t, (&ExecError{Place: "Dockerfile:2"}).Error(), "printed nothing")
}

func TestPlainErrors(t *testing.T) {
	err := fmt.Errorf("failed to solve: rpc error: code = Unknown desc = failed to compute cache key: "+
		"failed to calculate checksum of ref abc::def: %w", context.DeadlineExceeded)
	assert.EqualError(t, plain(err), "context deadline exceeded")
	assert.ErrorIs(t, plain(err), context.DeadlineExceeded)
	same := errors.New("as it is")
	assert.Equal(t, same, plain(same))
}

func TestTail(t *testing.T) {
	var short, long tail
	short.add([]byte("abc"))
	assert.Equal(t, "abc", short.String())
	line := bytes.Repeat([]byte("x"), 1000)
	for range 1000 {
		long.add(line)
	}
	long.add([]byte("end"))
	assert.Len(t, long.String(), maxTail)
	assert.True(t, strings.HasSuffix(long.String(), "xend"))
}

func TestStepNames(t *testing.T) {
	assert.Equal(t, "sh -c set -e echo", shortened("sh -c set -e\n\techo\n"))
	long := shortened(strings.Repeat("ä", 500))
	assert.Equal(t, maxName+1, len([]rune(long)))
	assert.Equal(t, "0123456789ab", shortName("sha256:0123456789abcdef"))
	assert.Equal(t, "extracting x", shortName("extracting x"))
}

func TestIgnorePatterns(t *testing.T) {
	files := map[string]string{".dockerignore": "# all\n*.log\n!keep.log\n", "sub/D.dockerignore": "other\n"}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	got, err := ignorePatterns("Dockerfile", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"*.log", "!keep.log"}, got)
	got, err = ignorePatterns("sub/D", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"other"}, got, "a Dockerfile's own ignore file goes before the context's")
	got, err = ignorePatterns("Dockerfile", func(string) ([]byte, error) { return nil, os.ErrNotExist })
	require.NoError(t, err)
	assert.Empty(t, got)
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
