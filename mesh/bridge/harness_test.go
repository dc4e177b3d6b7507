package bridge

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The live tests run against the engine that JACO_TEST_ENGINE names
// ("unix:///path"), in that engine's own network namespace: the suite engine
// starts one, with its FORWARD policy DROP, and runs them in there. They make and
// remove only what carries the label of a cluster of their own.

const testImage = "jaco-bridge-test:1"

// pool is where the networks of the tests are: not that of the suite's engine,
// which names networks' subnets itself from 10.192.0.0/10.
var pool = netip.MustParsePrefix("10.64.0.0/10")

// host is a node: an engine with bridges, and a mesh with one other node, which
// is a network namespace at the other end of a pair of interfaces.
type host struct {
	*Bridges
	t      *testing.T
	id     string // of the cluster
	mesh   string
	remote netns.NsHandle
	log    *slog.Logger
}

// remoteAddress is the other node's in the mesh.
var remoteAddress = netip.MustParseAddr("10.127.0.1")

func live(t *testing.T) *host {
	t.Helper()
	engine := os.Getenv("JACO_TEST_ENGINE")
	if engine == "" {
		t.Skip("on purpose: the suite engine runs it")
	}
	var id [4]byte
	rand.Read(id[:])
	h := &host{t: t, id: hex.EncodeToString(id[:]), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	h.mesh = "jm" + h.id
	h.Bridges = h.another()
	h.importImage()
	h.addRemote()
	t.Cleanup(h.cleanUp)
	return h
}

// another is what a new process has.
func (h *host) another() *Bridges {
	b, err := New(Options{Host: os.Getenv("JACO_TEST_ENGINE"), Logger: h.log})
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

var buildImage = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "idle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "idle")
	build := exec.Command("go", "build", "-o", path, "./testdata/idle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the test image's program: %w: %s", err, out)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Name: "idle", Mode: 0o755, Size: int64(len(body))})
	_, err2 := w.Write(body)
	return archive.Bytes(), errors.Join(err, err2, w.Close())
})

func (h *host) importImage() {
	h.t.Helper()
	archive, err := buildImage()
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := h.api.ImageImport(h.t.Context(), client.ImageImportSource{Source: bytes.NewReader(archive), SourceName: "-"},
		testImage, client.ImageImportOptions{Changes: []string{`CMD ["/idle"]`}})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := new(bytes.Buffer).ReadFrom(res); err != nil {
		h.t.Fatal(err)
	}
}

// addRemote makes the other node.
func (h *host) addRemote() {
	h.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := netns.Get()
	if err != nil {
		h.t.Fatal(err)
	}
	defer own.Close()
	if h.remote, err = netns.New(); err != nil {
		h.t.Fatal(err)
	}
	if err := netns.Set(own); err != nil {
		h.t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = h.mesh
	h.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "mesh0", PeerNamespace: netlink.NsFd(h.remote)}))
	up := func(handle *netlink.Handle, name string, address string, route netip.Prefix, via string) {
		link, err := handle.LinkByName(name)
		h.must(err)
		h.must(handle.LinkSetUp(link))
		h.must(handle.AddrAdd(link, &netlink.Addr{IPNet: netOf(netip.MustParsePrefix(address))}))
		h.must(handle.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: netOf(route), Gw: net.ParseIP(via)}))
	}
	here, err := netlink.NewHandle()
	h.must(err)
	defer here.Close()
	there, err := netlink.NewHandleAt(h.remote)
	h.must(err)
	defer there.Close()
	up(here, h.mesh, "10.127.255.1/30", netip.PrefixFrom(remoteAddress, 32), "10.127.255.2")
	up(there, "mesh0", "10.127.255.2/30", pool, "10.127.255.1")
	lo, err := there.LinkByName("lo")
	h.must(err)
	h.must(there.LinkSetUp(lo))
	h.must(there.AddrAdd(lo, &netlink.Addr{IPNet: netOf(netip.PrefixFrom(remoteAddress, 32))}))
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// cleanUp removes everything of this cluster, whatever the test has left.
func (h *host) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	listed, err := h.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", LabelCluster+"="+h.id)})
	if err != nil {
		h.t.Error(err)
	}
	for _, c := range listed.Items {
		if _, err := h.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			h.t.Error(err)
		}
	}
	if err := h.CleanUp(ctx, h.id); err != nil {
		h.t.Error(err)
	}
	if link, err := netlink.LinkByName(h.mesh); err == nil {
		_ = netlink.LinkDel(link)
	}
	_ = h.remote.Close()
	_ = h.Close()
}

// network is one of the tests' networks: the n-th /28 of a part of the pool that
// is this cluster's.
func (h *host) network(name string, n int) Network {
	var seed [1]byte
	_, _ = hex.Decode(seed[:], []byte(h.id[:2]))
	start := netip.AddrFrom4([4]byte{10, 64 + seed[0]%32, seed[0], byte(16 * n)})
	full := "jaco_" + h.id + "_" + name
	return Network{
		Name: full, Bridge: Interface(full), Subnet: netip.PrefixFrom(start, 28), Gateway: start.Next(),
		Labels: map[string]string{LabelCluster: h.id, "sh.jaco.network": name},
	}
}

func (h *host) config(networks ...Network) Config {
	return Config{Cluster: h.id, Mesh: h.mesh, MTU: 1420, Networks: networks}
}

// set wants every network ready.
func (h *host) set(c Config) Result {
	h.t.Helper()
	result, err := h.Set(h.t.Context(), c)
	h.must(err)
	for name, reason := range result.Ready {
		if reason != "" {
			h.t.Fatalf("network %s: %s", name, reason)
		}
	}
	if len(result.Ready) != len(c.Networks) {
		h.t.Fatalf("ready is %v, of %d networks", result.Ready, len(c.Networks))
	}
	return result
}

// refused wants a reason for one network.
func (h *host) refused(c Config, name string, words ...string) {
	h.t.Helper()
	result, err := h.Set(h.t.Context(), c)
	h.must(err)
	for _, word := range words {
		if !strings.Contains(result.Ready[name], word) {
			h.t.Errorf("network %s: %q lacks %q", name, result.Ready[name], word)
		}
	}
}

// box is a container.
type box struct {
	*host
	id      string
	name    string
	address netip.Addr
	space   netns.NsHandle
}

// run starts a container on a network.
func (h *host) run(name, network string) *box {
	h.t.Helper()
	full := "jaco_" + h.id + "_" + name
	made, err := h.api.ContainerCreate(h.t.Context(), client.ContainerCreateOptions{
		Name: full, Config: &container.Config{Image: testImage, Labels: map[string]string{LabelCluster: h.id}},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(network)},
	})
	h.must(err)
	_, err = h.api.ContainerStart(h.t.Context(), made.ID, client.ContainerStartOptions{})
	h.must(err)
	seen, err := h.api.ContainerInspect(h.t.Context(), made.ID, client.ContainerInspectOptions{})
	h.must(err)
	b := &box{host: h, id: made.ID, name: full, address: seen.Container.NetworkSettings.Networks[network].IPAddress}
	b.space, err = netns.GetFromPid(seen.Container.State.Pid)
	h.must(err)
	h.t.Cleanup(func() { _ = b.space.Close() })
	return b
}

func (b *box) stop() {
	b.t.Helper()
	_, err := b.api.ContainerRemove(b.t.Context(), b.id, client.ContainerRemoveOptions{Force: true})
	b.must(err)
}

// in runs f in a network namespace. f must make its sockets itself.
func in(space netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	own, err := netns.Get()
	if err != nil {
		return err
	}
	defer own.Close()
	if err := netns.Set(space); err != nil {
		return err
	}
	failed := f()
	if err := netns.Set(own); err != nil {
		return errors.Join(failed, err) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return failed
}

// serve echoes what comes to a new port in a namespace, and tells the callers'
// addresses.
func (h *host) serve(space netns.NsHandle, address netip.Addr) (netip.AddrPort, <-chan netip.Addr) {
	h.t.Helper()
	var l net.Listener
	h.must(in(space, func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	}))
	h.t.Cleanup(func() { _ = l.Close() })
	callers := make(chan netip.Addr, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			callers <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
			go func() {
				defer c.Close()
				buffer := make([]byte, 4096)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					if _, err := c.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), callers
}

// dial connects from a namespace.
func dial(space netns.NsHandle, from netip.Addr, to netip.AddrPort, within time.Duration) (c net.Conn, err error) {
	err = in(space, func() error {
		d := net.Dialer{Timeout: within, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		c, err = d.Dial("tcp4", to.String())
		return err
	})
	return c, err
}

// reaches wants a connection, from the sender's own address.
func (h *host) reaches(from netns.NsHandle, source netip.Addr, to netns.NsHandle, target netip.Addr) {
	h.t.Helper()
	at, callers := h.serve(to, target)
	c, err := dial(from, source, at, 3*time.Second)
	if err != nil {
		h.t.Fatalf("%s does not reach %s: %v", source, target, err)
	}
	defer c.Close()
	h.echo(c)
	if caller := <-callers; caller != source {
		h.t.Errorf("%s arrives as %s", source, caller)
	}
}

// cut wants no connection.
func (h *host) cut(from netns.NsHandle, source netip.Addr, to netns.NsHandle, target netip.Addr) {
	h.t.Helper()
	at, _ := h.serve(to, target)
	if c, err := dial(from, source, at, 300*time.Millisecond); err == nil {
		_ = c.Close()
		h.t.Errorf("%s reaches %s", source, target)
	}
}

func (h *host) echo(c net.Conn) {
	h.t.Helper()
	h.must(c.SetDeadline(time.Now().Add(5 * time.Second)))
	if _, err := c.Write([]byte("x")); err != nil {
		h.t.Fatal(err)
	}
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		h.t.Fatalf("no echo: %v", err)
	}
}

// tablesRun runs the engine's iptables.
func (h *host) tablesRun(args ...string) string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), "iptables", append([]string{"-w", "10"}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("iptables %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (h *host) ip(args ...string) {
	h.t.Helper()
	if out, err := exec.CommandContext(h.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// find is the engine's network of a name; nil when there is none.
func (h *host) find(name string) *network.Network {
	h.t.Helper()
	listed, err := h.api.NetworkList(h.t.Context(), client.NetworkListOptions{})
	h.must(err)
	at := slices.IndexFunc(listed.Items, func(n network.Summary) bool { return n.Name == name })
	if at < 0 {
		return nil
	}
	return &listed.Items[at].Network
}

// make makes a network as somebody else does.
func (h *host) make(name string, options client.NetworkCreateOptions) string {
	h.t.Helper()
	made, err := h.api.NetworkCreate(h.t.Context(), name, options)
	h.must(err)
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, _ = h.api.NetworkRemove(ctx, made.ID, client.NetworkRemoveOptions{})
	})
	return made.ID
}

// watch runs Watch and returns what it calls.
func (h *host) watch() <-chan struct{} {
	h.t.Helper()
	changed := make(chan struct{}, 64)
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- h.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
	h.await(changed) // that the engine answers
	return changed
}

func (h *host) await(changed <-chan struct{}) {
	h.t.Helper()
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		h.t.Fatal("nothing was told")
	}
}
