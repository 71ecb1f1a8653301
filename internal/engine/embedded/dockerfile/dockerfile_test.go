package dockerfile

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIgnorePatterns(t *testing.T) {
	files := map[string]string{".dockerignore": "# all\n*.log\n!keep.log\n", "sub/D.dockerignore": "other\n"}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	got, err := IgnorePatterns("Dockerfile", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"*.log", "!keep.log"}, got)
	got, err = IgnorePatterns("sub/D", read)
	require.NoError(t, err)
	assert.Equal(t, []string{"other"}, got, "a Dockerfile's own ignore file goes before the context's")
	got, err = IgnorePatterns("Dockerfile", func(string) ([]byte, error) { return nil, os.ErrNotExist })
	require.NoError(t, err)
	assert.Empty(t, got)
}

func TestBases(t *testing.T) {
	const text = "ARG BASE=debian:trixie-slim\nARG OTHER=reg.example/x\nFROM $BASE AS one\nFROM one AS two\nFROM ${OTHER} AS three\n" +
		"FROM scratch\nFROM busybox@sha256:9ae97d36d26566ff84e8893c64a6dc4fe8ca6d1144bf5b87b2b85a32def253c7\n"
	assert.Equal(t, []string{"docker.io/library/debian:trixie-slim", "reg.example/x:1"}, Bases([]byte(text), map[string]string{"build-arg:OTHER": "reg.example/x:1"}))
	assert.Equal(t, []string{"docker.io/library/debian:trixie-slim", "reg.example/x:latest"}, Bases([]byte(text), nil))
	assert.Empty(t, Bases([]byte("RAN x"), nil))
}
