package firewall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// world is a node in the test's own namespace, with the sample's bridges,
// containers on them, other nodes behind the mesh, and a LAN: each of them a
// namespace. The mesh is a pair of virtual interfaces.
type world struct {
	t     testing.TB
	hosts map[string]*host
	pings atomic.Uint32

	mu   sync.Mutex // guards the fields below
	seen map[string]string
	news chan struct{} // closed with each arrival
	// clients are who spoke to a receiver last, by flow.
	clients map[string]func(payload string)
}

// host is a namespace with receivers in it.
type host struct {
	name string
	path string // of its namespace
}

// setup makes the links. rp_filter is off: what is tested here is the firewall.
const setup = `
ip link add jbA type bridge
ip addr add 10.64.0.17/28 dev jbA
ip link add jbA2 type bridge
ip addr add 10.64.0.33/28 dev jbA2
ip link add jbB type bridge
ip addr add 10.64.0.49/28 dev jbB
ip link add jbI type bridge
ip addr add 10.64.0.65/28 dev jbI
ip link add jbX type bridge
ip addr add 10.64.0.81/28 dev jbX
ip link add br9 type bridge
ip addr add 172.18.0.1/24 dev br9
ip link set jbA up
ip link set jbA2 up
ip link set jbB up
ip link set jbI up
ip link set jbX up
ip link set br9 up
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv4.conf.all.rp_filter=0
sysctl -qw net.ipv4.conf.default.rp_filter=0
`

// published are ports of the node that lead into containers, as the engine makes
// them: the table is not ours.
const published = `table ip engine {
	chain publish {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr 192.168.77.1 meta l4proto { tcp, udp } th dport 8080 dnat to 10.64.0.50:9000
		ip daddr 192.168.77.1 meta l4proto { tcp, udp } th dport 8081 dnat to 10.64.0.66:9000
		ip daddr 192.168.77.1 meta l4proto { tcp, udp } th dport 8082 dnat to 10.64.0.82:9000
	}
}
`

func newWorld(t testing.TB) *world {
	newNamespace(t)
	w := &world{t: t, hosts: map[string]*host{}, seen: map[string]string{}, news: make(chan struct{}), clients: map[string]func(string){}}
	run(t, setup)
	w.hosts["node"] = &host{name: "node", path: fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())}
	for _, c := range []struct{ name, bridge, address, gateway string }{
		{"a1", "jbA", "10.64.0.18/28", "10.64.0.17"},
		{"a2", "jbA", "10.64.0.19/28", "10.64.0.17"},
		{"a3", "jbA2", "10.64.0.34/28", "10.64.0.33"},
		{"b1", "jbB", "10.64.0.50/28", "10.64.0.49"},
		{"i1", "jbI", "10.64.0.66/28", "10.64.0.65"},
		{"x1", "jbX", "10.64.0.82/28", "10.64.0.81"},
		{"f1", "br9", "172.18.0.2/24", "172.18.0.1"},
	} {
		h := w.join(c.name, c.bridge+"-"+c.name)
		run(t, "ip link set "+c.bridge+"-"+c.name+" master "+c.bridge)
		h.run(t, "ip addr add "+c.address+" dev eth0", "ip route add default via "+c.gateway)
	}
	// The other nodes, with the addresses of their processes and containers.
	far := w.join("far", "jaco0")
	run(t, `ip addr add 10.64.0.1/32 dev jaco0
ip route add 10.64.16.0/20 dev jaco0 src 10.64.0.1
ip route add 10.64.32.0/20 dev jaco0 src 10.64.0.1
ip route add 10.64.48.0/20 dev jaco0 src 10.64.0.1`)
	for _, a := range []string{"10.64.16.1", "10.64.32.1", "10.64.48.1", "10.64.16.18", "10.64.16.34", "10.64.16.50"} {
		far.run(t, "ip addr add "+a+"/32 dev eth0")
	}
	far.run(t, "ip route add 10.64.0.0/20 via 10.64.0.1 dev eth0 onlink", "ip route add 192.168.77.0/24 via 10.64.0.1 dev eth0 onlink", "ip route add 172.18.0.0/24 via 10.64.0.1 dev eth0 onlink")
	lan := w.join("lan", "eth0")
	run(t, `ip addr add 192.168.77.1/24 dev eth0
ip route add default via 192.168.77.2`)
	lan.run(t, "ip addr add 192.168.77.2/24 dev eth0", "ip addr add 10.64.16.99/32 dev lo",
		"ip route add 10.64.0.0/10 via 192.168.77.1", "ip route add 172.18.0.0/24 via 192.168.77.1")
	nft(t, published)
	for _, h := range w.hosts {
		w.listen(h)
	}
	return w
}

// join makes a namespace that has one end of a pair as eth0; the test has the
// other end by name.
func (w *world) join(name, peer string) *host {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=hold")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		input.Close()
		cmd.Wait()
	})
	h := &host{name: name, path: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)}
	w.hosts[name] = h
	run(w.t, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d", peer, cmd.Process.Pid))
	run(w.t, "ip link set "+peer+" up")
	h.run(w.t, "ip link set lo up", "ip link set eth0 up")
	return h
}

// run runs commands in the host's namespace.
func (h *host) run(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		run(t, "nsenter --net="+h.path+" "+c)
	}
}

// within calls a function on a thread in the host's namespace; sockets that it
// makes stay there.
func (h *host) within(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open(h.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// The ports that receivers listen on: one of an application, and of the node
// those that containers may and must not reach.
var udpPorts, tcpPorts = []int{9000, 53, 7000}, []int{9000, 53, 7000}

// listen starts the receivers of a host.
func (w *world) listen(h *host) {
	w.t.Helper()
	err := h.within(func() error {
		for _, port := range udpPorts {
			conn, err := net.ListenPacket("udp4", fmt.Sprintf("0.0.0.0:%d", port))
			if err != nil {
				return err
			}
			w.t.Cleanup(func() { conn.Close() })
			packets := ipv4.NewPacketConn(conn)
			if err := packets.SetControlMessage(ipv4.FlagDst, true); err != nil {
				return err
			}
			go w.receiveUDP(h, packets)
		}
		for _, port := range tcpPorts {
			listener, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
			if err != nil {
				return err
			}
			w.t.Cleanup(func() { listener.Close() })
			go w.receiveTCP(h, listener)
		}
		pings, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { pings.Close() })
		go w.receiveICMP(h, pings)
		return nil
	})
	if err != nil {
		w.t.Fatalf("%s: %v", h.name, err)
	}
}

// arrive records that a payload has come, and from where.
func (w *world) arrive(at, payload, from string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[at+" "+payload] = from
	close(w.news)
	w.news = make(chan struct{})
}

// came is from where a payload has come, "" when it has not.
func (w *world) came(at, payload string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[at+" "+payload]
}

// await waits for a payload, and returns from where it came, "" when the time
// was up.
func (w *world) await(at, payload string, limit time.Duration) string {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		w.mu.Lock()
		from, news := w.seen[at+" "+payload], w.news
		w.mu.Unlock()
		if from != "" {
			return from
		}
		select {
		case <-news:
		case <-timer.C:
			return ""
		}
	}
}

// receiveUDP answers each datagram with "re:" and what was in it, from the address
// that it was for.
func (w *world) receiveUDP(h *host, conn *ipv4.PacketConn) {
	buffer := make([]byte, 64<<10)
	for {
		n, control, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		payload := string(buffer[:n])
		w.arrive(h.name, payload, from.String())
		answer := func(payload string) {
			// Whether it comes back is seen where it does.
			_, _ = conn.WriteTo([]byte(payload), &ipv4.ControlMessage{Src: control.Dst}, from)
		}
		flow, _, _ := strings.Cut(payload, "|")
		w.mu.Lock()
		w.clients[flow] = answer
		w.mu.Unlock()
		answer("re:" + payload)
	}
}

func (w *world) receiveTCP(h *host, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, 1<<10)
			n, err := conn.Read(buffer)
			if err == nil {
				w.arrive(h.name, string(buffer[:n]), conn.RemoteAddr().String())
			}
		}()
	}
}

func (w *world) receiveICMP(h *host, conn *icmp.PacketConn) {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		message, err := icmp.ParseMessage(unix.IPPROTO_ICMP, buffer[:n])
		if err != nil {
			continue
		}
		switch body := message.Body.(type) {
		case *icmp.Echo:
			payload := string(body.Data)
			if message.Type == ipv4.ICMPTypeEchoReply {
				payload = "re:" + payload
			}
			w.arrive(h.name, payload, from.String())
		case *icmp.DstUnreach:
			w.arrive(h.name, fmt.Sprintf("unreachable %d", message.Code), from.String())
		}
	}
}

// flow is a UDP socket of a client, kept for several payloads.
type flow struct {
	w    *world
	name string
	conn net.Conn
}

// dial makes a flow from a host, and from one of its addresses unless that is "".
func (w *world) dial(from, source, to string, port int, name string) (*flow, error) {
	f := &flow{w: w, name: name}
	err := w.hosts[from].within(func() (err error) {
		dialer := net.Dialer{}
		if source != "" {
			dialer.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
		}
		f.conn, err = dialer.Dial("udp4", net.JoinHostPort(to, strconv.Itoa(port)))
		return err
	})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { f.conn.Close() })
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := f.conn.Read(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // an error is one that ICMP told of
				w.arrive(from, string(buffer[:n]), to)
			}
		}
	}()
	return f, nil
}

// send sends a payload of the flow. What becomes of it only receivers know: an
// error may be that of an earlier one.
func (f *flow) send(mark string) { f.conn.Write([]byte(f.name + "|" + mark)) }

// push has the receiver send a payload to the flow's client.
func (f *flow) push(mark string) {
	f.w.mu.Lock()
	client := f.w.clients[f.name]
	f.w.mu.Unlock()
	if client != nil {
		client(f.name + "|" + mark)
	}
}

// connect opens a TCP connection, sends the payload, and reports whether it
// could.
func (w *world) connect(from, source, to string, port int, payload string) bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), connectTime)
	defer cancel()
	var conn net.Conn
	err := w.hosts[from].within(func() (err error) {
		dialer := net.Dialer{}
		if source != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		}
		conn, err = dialer.DialContext(ctx, "tcp4", net.JoinHostPort(to, strconv.Itoa(port)))
		return err
	})
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = conn.Write([]byte(payload))
	return err == nil
}

// connectTime is for a connection that must not come about; the first packet of
// one that does takes microseconds here.
const connectTime = 300 * time.Millisecond

// ping sends an echo request with the payload.
func (w *world) ping(from, source, to, payload string) error {
	id := int(w.pings.Add(1)) // conntrack tells pings apart by it
	return w.hosts[from].within(func() error {
		body := &icmp.Echo{ID: id, Seq: 1, Data: []byte(payload)}
		data, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: body}).Marshal(nil)
		if err != nil {
			return err
		}
		return raw(source, to, unix.IPPROTO_ICMP, data)
	})
}

// forge sends a datagram with whatever source.
func (w *world) forge(from, source, to string, port int, payload string) error {
	udp := binary.BigEndian.AppendUint16(nil, 4000)
	udp = binary.BigEndian.AppendUint16(udp, uint16(port))
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = binary.BigEndian.AppendUint16(udp, 0) // no checksum
	return w.hosts[from].within(func() error { return raw(source, to, unix.IPPROTO_UDP, append(udp, payload...)) })
}

// raw sends a packet with a header of its own from this thread's namespace; the
// kernel chooses the source when it is "".
func raw(source, to string, protocol byte, data []byte) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	destination := netip.MustParseAddr(to).As4()
	header := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
	if source == "" {
		source = "0.0.0.0" // raw(7): filled in when it is zero
	}
	from := netip.MustParseAddr(source).As4()
	header = append(append(header, from[:]...), destination[:]...)
	return unix.Sendto(s, append(header, data...), 0, &unix.SockaddrInet4{Addr: destination})
}
