//go:build linux

package buildkitd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCountIDs(t *testing.T) {
	const subuid = "root:100000:65536\nme:165536:65536\n1000:300000:10\nmeow:400000:5\n# me:1:1\nme:broken\n"
	assert.Equal(t, 65546, countIDs(subuid, []string{"me", "1000"}))
	assert.Zero(t, countIDs(subuid, []string{"you", "1001"}))
	assert.Equal(t, 65546, countIDs("0: me 165536 65536\n1: me 300000 10\n", nil))
	assert.Zero(t, countIDs("", nil))
}

func TestRootlessCommand(t *testing.T) {
	needsRoot(t) // another user may lack /dev/net/tun
	got := strings.Join(rootless("/bin/rootlesskit", "/state", []string{"/bin/shim", "daemon"}), " ")
	assert.True(t, strings.HasPrefix(got, "/bin/rootlesskit --state-dir /state/rk --pidns "), got)
	assert.True(t, strings.HasSuffix(got, " --detach-netns --disable-host-loopback /bin/shim daemon"), got)
}
