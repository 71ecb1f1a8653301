package hostnet

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChoose(t *testing.T) {
	n, err := Choose("/state", nil)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(n.Bridge), 15, "what Linux takes for an interface name")
	assert.Equal(t, 24, n.Subnet.Bits())
	assert.True(t, candidates.Overlaps(n.Subnet))

	again, err := Choose("/state", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.0/24")})
	require.NoError(t, err)
	assert.Equal(t, n, again, "the default route and a network elsewhere do not matter")

	other, err := Choose("/other", nil)
	require.NoError(t, err)
	assert.NotEqual(t, n.Bridge, other.Bridge)
	assert.NotEqual(t, n.Subnet, other.Subnet)

	moved, err := Choose("/state", []netip.Prefix{n.Subnet})
	require.NoError(t, err)
	assert.Equal(t, n.Bridge, moved.Bridge)
	assert.False(t, moved.Subnet.Overlaps(n.Subnet))

	_, err = Choose("/state", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	assert.ErrorContains(t, err, "overlaps")
}
