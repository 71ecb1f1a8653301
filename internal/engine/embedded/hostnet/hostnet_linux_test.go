package hostnet

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const routes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
wg0	0000000A	00000000	0001	0	0	0	0000FCFF	0	0	0
mine	001FDB0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
`

func TestParseRoutes(t *testing.T) {
	got, err := parseRoutes(strings.NewReader(routes), "mine")
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"),
		netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("10.0.0.0/14"),
	}, got)
	_, err = parseRoutes(strings.NewReader("eth0 zz 0 0 0 0 0 0\n"), "")
	assert.Error(t, err)
}

func FuzzParseRoutes(f *testing.F) {
	f.Add(routes)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseRoutes(strings.NewReader(text), "")
		if err != nil {
			return
		}
		for _, p := range got {
			_, err := Choose("/state", []netip.Prefix{p})
			_ = err // it may be all that there is
		}
	})
}

// TestSetupAndTeardown runs in a network namespace of its own.
func TestSetupAndTeardown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing the network needs root")
	}
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test, and the namespace with it
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	n, err := Choose(t.TempDir(), nil)
	require.NoError(t, err)
	n.Cgroup = n.Bridge
	rules := func() string {
		var all strings.Builder
		for _, table := range []string{"nat", "filter"} {
			out, err := exec.Command("iptables", "-t", table, "-S").Output()
			require.NoError(t, err)
			all.Write(out)
		}
		return all.String()
	}
	before := rules()
	require.NoError(t, n.Teardown(), "of nothing")

	// As after a daemon that was killed: rules and a bridge that is up.
	require.NoError(t, n.Setup())
	require.NoError(t, addBridge(n.Bridge))
	require.NoError(t, n.Setup())
	assert.Equal(t, 3, strings.Count(rules(), "--comment "+n.Bridge), "no rule stands twice")
	_, err = net.InterfaceByName(n.Bridge)
	assert.Error(t, err, "the old bridge is gone")

	require.NoError(t, addBridge(n.Bridge))
	require.NoError(t, n.Teardown())
	assert.Equal(t, before, rules())
	_, err = net.InterfaceByName(n.Bridge)
	assert.Error(t, err)
}

func addBridge(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	if err := ioctlPtr(s, unix.SIOCBRADDBR, p); err != nil {
		return err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}
