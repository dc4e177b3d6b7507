package drift

import (
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
)

// sample is a table like ours, without anybody who keeps it.
const sample = `table inet jaco {
	set members {
		type ifname . ipv4_addr
		flags interval
		elements = { "jb1" . 10.64.0.16/28, "jb1" . 10.64.16.16/28, "jb2" . 10.64.0.32/28 }
	}
	set bridges {
		type ifname
		elements = { "jb1", "jb2" }
	}
	set peers {
		type ipv4_addr
	}
	chain pre {
		type filter hook prerouting priority raw; policy accept;
		iifname "jaco0" ip saddr != 10.64.0.0/10 counter drop
		ip saddr 10.64.0.0/10 iifname != @bridges drop
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		oifname . ip saddr @members accept
		ip daddr 10.64.0.0/10 drop
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.64.0.0/10 ip daddr != 10.64.0.0/10 masquerade
	}
}
`

// TestChanges makes every change to a table that nobody repairs: nft takes each,
// and each is seen.
func TestChanges(t *testing.T) {
	node := rig.Start(t, rig.Config{NoEngine: true}).Node()
	nft(t, node, sample)
	all := changes(t, node)
	if len(all) < 20 {
		t.Errorf("a small table offers only %d changes", len(all))
	}
	names := map[string]bool{}
	for _, change := range all {
		t.Run(change.name, func(t *testing.T) {
			if names[change.name] {
				t.Error("it has been tried")
			}
			names[change.name] = true
			nft(t, node, "add table inet jaco\ndelete table inet jaco\n"+sample)
			before := table(t, node)
			script, err := change.script(t, node)
			if err != nil {
				t.Fatal(err)
			}
			nft(t, node, script)
			if after := table(t, node); after == before {
				t.Errorf("nothing is seen of\n%s", script)
			}
		})
	}
}
