package main

import (
	"errors"
	"net/netip"
	"testing"
)

func TestChooseAddress(t *testing.T) {
	address := func(name, ip string) hostAddress { return hostAddress{name, netip.MustParseAddr(ip)} }
	for _, test := range []struct {
		name string
		have []hostAddress
		want string // "" for errNoPrivateAddress
	}{
		{"nothing", nil, ""},
		{"only loopback", []hostAddress{address("lo", "127.0.0.1")}, ""},
		{"only public", []hostAddress{address("eth0", "203.0.113.9"), address("eth0", "2001:db8::1")}, ""},
		{"private beside public", []hostAddress{address("eth0", "203.0.113.9"), address("eth1", "10.1.2.3")}, "10.1.2.3"},
		{"IPv4 before IPv6", []hostAddress{address("eth0", "fd00::5"), address("eth1", "192.168.1.4")}, "192.168.1.4"},
		{"IPv6 alone", []hostAddress{address("eth0", "fd00::5")}, "fd00::5"},
		{"first interface by name", []hostAddress{address("eth1", "10.0.0.2"), address("eth0", "10.0.0.3")}, "10.0.0.3"},
		{"never a container bridge", []hostAddress{address("docker0", "172.17.0.1"), address("br-12ab", "172.18.0.1"), address("jaco0", "10.64.0.1")}, ""},
		{"link-local does not count", []hostAddress{address("eth0", "169.254.3.4"), address("eth0", "fe80::1")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := chooseAddress(test.have)
			if test.want == "" {
				if !errors.Is(err, errNoPrivateAddress) {
					t.Fatalf("chose %v, %v; want errNoPrivateAddress", got, err)
				}
				return
			}
			if err != nil || got.String() != test.want {
				t.Errorf("chose %v, %v; want %s", got, err, test.want)
			}
		})
	}
}
