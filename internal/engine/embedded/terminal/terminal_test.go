package terminal

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
)

func TestServiceArgs(t *testing.T) {
	const nested, privileged = "experimentalPrivilegedNesting", "insecureRootCapabilities"
	preset := api.Args{"args": []any{"bash"}, nested: true, privileged: false}
	for name, test := range map[string]struct {
		asked, preset api.Args
		command       string
		nested        bool
	}{
		"shell":        {command: "sh"},
		"asked":        {asked: api.Args{"cmd": []any{"zsh"}}, command: "zsh"},
		"preset":       {asked: api.Args{"cmd": []any{}, nested: false}, preset: preset, command: "bash", nested: true},
		"asked anyway": {asked: api.Args{"cmd": []any{"zsh"}}, preset: preset, command: "zsh", nested: true},
	} {
		got := ServiceArgs(test.asked, test.preset)
		assert.Equal(t, map[string]any{"args": []any{test.command}, nested: test.nested, privileged: false}, got, name)
	}
}

func TestNoTerminal(t *testing.T) {
	var none *Terminal
	require.ErrorIs(t, none.Check(), errNone)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	require.ErrorIs(t, New(file, "").Check(), errNone)
}

func TestOthersWait(t *testing.T) {
	tty := New(nil, "")
	var out bytes.Buffer
	w := tty.Writer(&out)
	say := func(text string) {
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
	}
	say("before ")
	tty.hold()
	say("meanwhile ")
	assert.Equal(t, "before ", out.String())
	tty.release()
	say("after")
	assert.Equal(t, "before meanwhile after", out.String())
}
