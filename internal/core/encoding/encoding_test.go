package encoding

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUTF8(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		"größe":                                 "größe",
		"\xef\xbb\xbfa":                         "\xef\xbb\xbfa",
		"\xff\xfea\x00\xf6\x00\x3d\xd8\x00\xde": "aö😀",
		"\xfe\xff\x00a\x00\xf6":                 "aö",
		"\xff\xfea\x00b":                        "a", // half a character
	} {
		text, _ := UTF8([]byte(in))
		assert.Equal(t, want, string(text), "%q", in)
	}
}

func TestInvalidLine(t *testing.T) {
	assert.Zero(t, InvalidLine([]byte("größe\n")))
	assert.Equal(t, 2, InvalidLine([]byte("a\n# gr\xf6\xdfe\nb\n")))
}
