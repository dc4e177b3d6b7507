package wireguard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The tests here work in namespaces of their own: a test starts this test
// program again, in a new network namespace or in one made before, and tells it
// what to do through pipes. That way all of a Device is in the namespace, as in
// production, with all goroutines of wireguard-go.

// childEnv says what a child is to be: "hold" keeps a namespace, "work" obeys.
const childEnv = "JACO_WIREGUARD_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "hold":
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "work":
		if err := obey(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host is a network namespace, kept by a process.
type host struct {
	t       testing.TB
	name    string
	pid     int
	address netip.Addr
}

func newHost(t testing.TB, name string) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=hold")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		cmd.Wait()
	})
	h := &host{t: t, name: name, pid: cmd.Process.Pid}
	h.run("ip link set lo up")
	return h
}

// run runs a command in the namespace; the words are separated by blanks.
func (h *host) run(command string) string {
	h.t.Helper()
	out, err := h.try(command)
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s", h.name, command, err, out)
	}
	return out
}

func (h *host) try(command string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-n", "--"}, strings.Fields(command)...)...).CombinedOutput()
	return string(out), err
}

// newLAN makes hosts on one Ethernet: 10.99.0.1 and so on, at eth0.
func newLAN(t testing.TB, count int) (lan *host, hosts []*host) {
	t.Helper()
	lan = newHost(t, "lan")
	lan.run("ip link add br0 type bridge")
	lan.run("ip link set br0 up")
	for i := 1; i <= count; i++ {
		h := newHost(t, "h"+strconv.Itoa(i))
		lan.run(fmt.Sprintf("ip link add p%d type veth peer name eth0 netns %d", i, h.pid))
		lan.run(fmt.Sprintf("ip link set p%d master br0 up", i))
		h.address = netip.AddrFrom4([4]byte{10, 99, 0, byte(i)})
		h.run(fmt.Sprintf("ip addr add %s/24 dev eth0", h.address))
		h.run("ip link set eth0 up")
		hosts = append(hosts, h)
	}
	return lan, hosts
}

// interfaceCount keeps names of interfaces apart, whose sockets the whole
// machine shares.
var interfaceCount atomic.Int32

func interfaceName() string {
	return fmt.Sprintf("wt%x-%x", os.Getpid(), interfaceCount.Add(1))
}

// order is what a child is told, and answer what it says.
type order struct {
	Do       string
	Config   Config
	Name     string
	Address  string
	Count    int
	Targets  []Target
	Duration time.Duration
	Meddle   string
	Peer     Key
}

type answer struct {
	Error    string
	Result   Result
	Status   Status
	Count    int
	Took     time.Duration
	Findings []Finding
}

// child is a process in a host's namespace.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	input io.WriteCloser
	in    *json.Encoder
	out   *json.Decoder
	ended bool
}

func (h *host) start() *child {
	h.t.Helper()
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(h.pid), "-n", "--", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=work")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	c := &child{t: h.t, cmd: cmd, input: input, in: json.NewEncoder(input), out: json.NewDecoder(bufio.NewReader(output))}
	h.t.Cleanup(c.end)
	return c
}

// end ends the child in good order, kill without.
func (c *child) end() {
	if !c.ended {
		c.ended = true
		c.input.Close()
		// The race detector's findings in a child are in its status.
		if err := c.cmd.Wait(); err != nil {
			c.t.Errorf("a child ended badly: %v", err)
		}
	}
}

func (c *child) kill() {
	c.ended = true
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

func (c *child) tell(o order) answer {
	c.t.Helper()
	var a answer
	if err := c.in.Encode(o); err != nil {
		c.t.Fatalf("%s: %v", o.Do, err)
	}
	if err := c.out.Decode(&a); err != nil {
		c.t.Fatalf("%s: %v", o.Do, err)
	}
	return a
}

// must is tell where no error is expected.
func (c *child) must(o order) answer {
	c.t.Helper()
	a := c.tell(o)
	if a.Error != "" {
		c.t.Fatalf("%s: %s", o.Do, a.Error)
	}
	return a
}

func (c *child) set(config Config) Result {
	c.t.Helper()
	return c.must(order{Do: "set", Config: config}).Result
}

// worker is what a child has.
type worker struct {
	device  *Device
	changes atomic.Int64
	flow    flow
}

// obey does what is asked until the input ends.
func obey(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &worker{device: New(Options{})}
	defer w.device.Close()
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		start := time.Now()
		a, err := w.do(ctx, o)
		a.Took = time.Since(start)
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (w *worker) do(ctx context.Context, o order) (a answer, err error) {
	switch o.Do {
	case "set":
		a.Result, err = w.device.Set(ctx, o.Config)
	case "read":
		a.Status, err = w.device.Read(ctx)
	case "close":
		err = w.device.Close()
	case "cleanup":
		if o.Name != "" {
			w.device = New(Options{Interface: o.Name})
		}
		err = w.device.CleanUp(ctx)
	case "watch":
		go w.device.Watch(ctx, func() { w.changes.Add(1) })
	case "changes":
		a.Count = int(w.changes.Load())
	case "await": // a change after the first Count
		err = until(10*time.Second, func() bool { return w.changes.Load() > int64(o.Count) })
	case "probe":
		a.Findings, err = (&Prober{Interface: o.Name}).Round(ctx, o.Targets, o.Count)
	case "switch off":
		err = os.WriteFile(o.Name, []byte("0"), 0o644)
	case "meddle":
		err = meddle(o)
	case "tick":
		w.device.memoryTick = o.Duration
	case "heap":
		a.Count = heap()
	case "listen":
		err = w.flow.listen(o.Address)
	case "flow":
		err = w.flow.start(ctx, o.Address)
	case "flowed":
		a.Count, err = w.flow.state()
	case "sink":
		err = sink(o.Address)
	case "pump":
		err = pump(o.Address, o.Count)
	case "plain":
		err = plain(o.Config)
	default:
		err = fmt.Errorf("no order %q", o.Do)
	}
	return a, err
}

// until waits for a condition by asking often.
func until(limit time.Duration, condition func() bool) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			return fmt.Errorf("not within %s", limit)
		case <-tick.C:
		}
	}
	return nil
}

// heap is the memory that the runtime holds for objects, KiB: what it gave back
// to the kernel is not in it.
func heap() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int((m.HeapSys - m.HeapReleased) >> 10)
}

// flow is one TCP connection that carries a byte to and fro.
type flow struct {
	count atomic.Int64
	err   atomic.Pointer[error]
}

func (f *flow) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	return nil
}

func (f *flow) start(ctx context.Context, address string) error {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	go func() {
		var b [1]byte
		for {
			_, err := c.Write(b[:])
			if err == nil {
				_, err = io.ReadFull(c, b[:])
			}
			if err != nil {
				f.err.Store(&err)
				return
			}
			f.count.Add(1)
		}
	}()
	return nil
}

func (f *flow) state() (int, error) {
	if err := f.err.Load(); err != nil {
		return 0, *err
	}
	return int(f.count.Load()), nil
}

// mesh is a set of hosts whose Configs know each other.
type mesh struct {
	hosts   []*host
	lan     *host
	nodes   []*child
	configs []Config
}

// newMesh makes configs for hosts: host i has the address 10.64.16*i.1 and the
// block around it.
func newMesh(t testing.TB, count int, mode Mode) *mesh {
	t.Helper()
	m := &mesh{}
	m.lan, m.hosts = newLAN(t, count)
	for i, h := range m.hosts {
		m.configs = append(m.configs, Config{
			Interface: interfaceName(), Mode: mode, PrivateKey: testKey(byte(i + 1)), Port: 51820,
			Address: block(i).Addr().Next(), Pool: netip.MustParsePrefix("10.64.0.0/10"),
		})
		m.nodes = append(m.nodes, h.start())
	}
	for i := range m.configs {
		for j := range m.configs {
			if i != j {
				m.configs[i].Peers = append(m.configs[i].Peers, m.peer(j))
			}
		}
	}
	return m
}

func (m *mesh) peer(i int) Peer {
	return Peer{
		Name: "n" + strconv.Itoa(i+1), PublicKey: m.configs[i].PrivateKey.Public(),
		Endpoint: netip.AddrPortFrom(m.hosts[i].address, 51820), Allowed: []netip.Prefix{block(i)},
	}
}

func (m *mesh) set(i int) Result {
	m.hosts[i].t.Helper()
	return m.nodes[i].set(m.configs[i])
}

// reach waits until host i has an answer from host j over the mesh.
func (m *mesh) reach(i, j int, limit time.Duration) {
	t := m.hosts[i].t
	t.Helper()
	err := until(limit, func() bool {
		f := m.nodes[i].must(order{Do: "probe", Name: m.configs[i].Interface, Count: 100, Targets: m.targets(j)}).Findings
		return !f[0].Lost
	})
	if err != nil {
		t.Fatalf("%s does not reach %s: %v", m.hosts[i].name, m.hosts[j].name, err)
	}
}

func (m *mesh) targets(which ...int) (targets []Target) {
	for _, i := range which {
		targets = append(targets, Target{Name: "n" + strconv.Itoa(i+1), Address: m.configs[i].Address})
	}
	return targets
}

func block(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(i/16), byte(i%16) * 16, 0}), 20)
}

func testKey(seed byte) Key {
	k, err := NewKey(strings.NewReader(strings.Repeat(string(rune(seed)), 64)))
	if err != nil {
		k = Key{}
	}
	return k
}

// picture is what a namespace has, to be compared: links, addresses, routes,
// rules and settings.
func (h *host) picture() string {
	h.t.Helper()
	var b strings.Builder
	for _, command := range []string{"ip -o link", "ip -o addr", "ip route show table all", "ip rule"} {
		b.WriteString(command + "\n" + h.run(command) + "\n")
	}
	// Some settings cannot be read, which is no matter; the count of connections
	// is none.
	settings, _ := h.try("grep -rs --exclude=nf_conntrack_count . /proc/sys/net")
	if strings.Count(settings, "\n") < 300 {
		h.t.Fatalf("the settings could not be read:\n%s", settings)
	}
	b.WriteString(settings)
	sockets, err := filepath.Glob(socketDirectory + "/*")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range sockets {
		if strings.Contains(s, fmt.Sprintf("wt%x-", os.Getpid())) {
			b.WriteString(s + "\n")
		}
	}
	return b.String()
}

// lineDiff is the lines that are in one picture only.
func lineDiff(before, after string) string {
	have := map[string]int{}
	for line := range strings.Lines(before) {
		have[line]++
	}
	var b strings.Builder
	for line := range strings.Lines(after) {
		if have[line]--; have[line] < 0 {
			b.WriteString("+ " + line)
		}
	}
	for line := range strings.Lines(before) {
		if have[line] > 0 {
			b.WriteString("- " + line)
			have[line]--
		}
	}
	return b.String()
}
