package httpsource_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/httpsource"
)

func TestParse(t *testing.T) {
	for address, want := range map[string][3]string{
		"https://example.com/a/b.tar?x=1": {"https://example.com/a/b.tar?x=1", "b.tar", ""},
		"https://example.com":             {"https://example.com", "index", ""},
		"http://me:secret@127.0.0.1:80/f": {"http://127.0.0.1:80/f", "f", "basic bWU6c2VjcmV0"},
	} {
		f, header, err := httpsource.Parse(address, "", "")
		require.NoError(t, err, address)
		assert.Equal(t, want, [3]string{f.URL, f.Name, header}, address)
	}
	for _, address := range []string{"", "no-url", "%"} {
		_, _, err := httpsource.Parse(address, "", "")
		assert.Error(t, err, address)
	}
	_, _, err := httpsource.Parse("https://example.com/f", "", "md5")
	assert.ErrorContains(t, err, "md5")
}
