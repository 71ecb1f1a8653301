// Package hostnet owns what the embedded engine's containers need on the host and outside of their namespaces: a
// bridge with a subnet of its own, forwarding to and from it, address translation on the way out, and a parent cgroup.
// Names and subnet follow from the state directory, so that two engines on one machine do not meet, and so that
// whoever comes next can remove what a killed one left.
package hostnet

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
)

// Network is what one engine has on the host.
type Network struct {
	Bridge string       `json:"bridge"` // interface name, at most 15 bytes
	Subnet netip.Prefix `json:"subnet"` // IPv4, /24; the bridge has its first address
	Cgroup string       `json:"cgroup"` // parent of the containers' cgroups, in every hierarchy
}

// candidates is where subnets come from: 10.192.0.0/10, which few networks use, in /24 steps.
var candidates = netip.MustParsePrefix("10.192.0.0/10")

const subnetBits = 24

// Name is the name of a state directory's bridge and cgroup.
func Name(state string) string { return fmt.Sprintf("aksflow%08x", uint32(hash(state)>>32)) }

func hash(state string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(state))
	return h.Sum64()
}

// Choose picks the network for a state directory: always the same bridge name, and the first subnet, counted from a
// place that depends on the directory, that overlaps none in use.
func Choose(state string, inUse []netip.Prefix) (Network, error) {
	sum := hash(state)
	base := candidates.Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	count := uint32(1) << (subnetBits - candidates.Bits())
	for i := range count {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], first+((uint32(sum)+i)%count)<<(32-subnetBits))
		subnet := netip.PrefixFrom(netip.AddrFrom4(a), subnetBits)
		if !overlapsAny(subnet, inUse) {
			name := Name(state)
			return Network{Bridge: name, Subnet: subnet, Cgroup: name}, nil
		}
	}
	return Network{}, fmt.Errorf("every subnet of %s overlaps one of the host's routes", candidates)
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if o.Bits() > 0 && o.Overlaps(p) { // the default route overlaps everything and means nothing
			return true
		}
	}
	return false
}
