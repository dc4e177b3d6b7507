package wireguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// Options are what a Device works with.
type Options struct {
	// Logger; nil: silent.
	Logger *slog.Logger
	// Interface is the name that CleanUp takes away when there was no Set, as in a
	// program that only cleans up.
	Interface string
}

// Device keeps one interface. It is safe for concurrent use; one process has
// one Device for an interface.
type Device struct {
	logger     *slog.Logger
	memoryTick time.Duration  // the constant, but in a test
	tasks      sync.WaitGroup // greetings

	// watched is what Watch compares events with; nil before the first Set.
	watched atomic.Pointer[watched]

	mu     sync.Mutex // guards the fields below
	name   string
	handle *netlink.Handle
	client *wgctrl.Client
	user   *userspace // nil in kernel mode
	last   *applied   // what the last Set that succeeded left
}

// applied is what a Set left.
type applied struct {
	config    Config
	network   network
	tunnel    tunnel
	endpoints map[Key]netip.AddrPort
}

// Result is what a Set came to.
type Result struct {
	Mode Mode // in use: Kernel or Userspace
	MTU  int  // of the interface, bytes; that of container networks, too
	// Changed says that something had to be changed.
	Changed bool
	// Repaired says, one line each, what somebody else had changed since the last
	// Set of this Device, and is right again. It is also filled when Set fails.
	Repaired []string
}

// Status is what WireGuard says of itself.
type Status struct {
	Interface string
	Mode      Mode
	MTU       int // bytes
	PublicKey Key
	Port      int
	Peers     []PeerStatus // in the Config's order
}

// PeerStatus is one peer as it is now.
type PeerStatus struct {
	Name      string
	PublicKey Key
	// Endpoint is where it was heard from last, or where it is said to be.
	Endpoint netip.AddrPort
	// Handshake is the time of the last one; zero: none yet.
	Handshake     time.Time
	ReceivedBytes int64
	SentBytes     int64
}

// errNoDevice is returned by Read before the first Set.
var errNoDevice = errors.New("the mesh interface is not set up yet")

// New makes a Device that has done nothing yet.
func New(options Options) *Device {
	logger := options.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Device{logger: logger, name: options.Interface, memoryTick: memoryTick}
}

// Set makes the interface as config says, whatever is there now, and says what
// it did. It can be repeated; nothing happens when nothing differs. An error
// says what a person can do about it; what was reached stays.
func (d *Device) Set(ctx context.Context, config Config) (Result, error) {
	if err := config.validate(); err != nil {
		return Result{}, fmt.Errorf("mesh interface: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks.Wait() // a greeting has its own keepalives for a moment
	if d.name != "" && d.last != nil && d.name != config.Interface {
		return Result{}, fmt.Errorf("mesh interface: it is %s until this program ends, not %s", d.name, config.Interface)
	}
	d.name = config.Interface
	var result Result
	if err := d.set(ctx, &config, &result); err != nil {
		// Half of a change is not somebody else's doing.
		d.last = nil
		d.watched.Store(nil)
		return result, fmt.Errorf("mesh interface: %w", err)
	}
	return result, nil
}

func (d *Device) set(ctx context.Context, config *Config, result *Result) error {
	if err := d.open(); err != nil {
		return err
	}
	found, err := readNetwork(d.handle, config.Interface)
	if err != nil {
		return err
	}
	if d.last != nil {
		result.Repaired = d.last.network.differences(&found)
	}
	if result.MTU = config.MTU; result.MTU == 0 {
		if result.MTU, err = pathMTU(d.handle, config.Peers, found.index); err != nil {
			return err
		}
	}
	made, err := d.ensureLink(ctx, config, &found, result)
	if err != nil {
		return err
	}
	inside, err := readTunnel(d.client, config.Interface)
	if err != nil {
		return err
	}
	if d.last != nil && !made {
		result.Repaired = append(result.Repaired, d.last.tunnel.differences(&inside)...)
	}
	kind := kindKernel
	if result.Mode == Userspace {
		kind = kindUserspace
	}
	next := applied{config: *config, endpoints: map[Key]netip.AddrPort{}}
	next.network, next.tunnel = wanted(config, kind, result.MTU)
	for _, p := range config.Peers {
		next.endpoints[p.PublicKey] = p.Endpoint
	}
	if err := d.apply(&next, &found, &inside, made, result); err != nil {
		return err
	}
	next.network.index = found.index
	d.last = &next
	d.watched.Store(newWatched(&next.network))
	if made {
		d.tasks.Go(func() {
			if err := greet(next.config.Interface, next.config.Peers); err != nil {
				d.logger.Warn("the mesh's peers will notice the new interface late", "error", err)
			}
		})
	}
	return nil
}

// apply changes what differs: WireGuard before the interface is up, and routes
// last.
func (d *Device) apply(next *applied, found *network, inside *tunnel, made bool, result *Result) error {
	var endpoints map[Key]netip.AddrPort
	if d.last != nil {
		endpoints = d.last.endpoints
	}
	if change, any := tunnelChange(&next.config, &next.tunnel, inside, endpoints); any {
		if err := configure(d.client, &next.config, change); err != nil {
			return err
		}
		// On the first Set, endpoints are sent although they are right already.
		result.Changed = result.Changed || d.last != nil || len(next.tunnel.differences(inside)) > 0
	}
	if d.user != nil {
		// wireguard-go opens its port by itself when the interface goes up, but
		// tells nobody when it cannot.
		if err := d.user.device.Up(); err != nil {
			if portTaken(err) {
				return portError(next.config.Port, err)
			}
			return fmt.Errorf("open UDP port %d: %w", next.config.Port, err)
		}
	}
	changed, err := setNetwork(d.handle, &next.network, found)
	result.Changed = result.Changed || changed || made
	return err
}

// open gets what talks to the kernel.
func (d *Device) open() error {
	if d.handle != nil {
		return nil
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	d.handle = handle
	return nil
}

// Read says what WireGuard has now, sessions and counters included.
func (d *Device) Read(context.Context) (Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || d.client == nil {
		return Status{}, errNoDevice
	}
	device, err := d.client.Device(d.name)
	if err != nil {
		return Status{}, fmt.Errorf("read WireGuard of %s: %w", d.name, err)
	}
	status := Status{Interface: d.name, Mode: d.mode(), MTU: d.last.network.mtu, PublicKey: Key(device.PublicKey), Port: device.ListenPort}
	at := make(map[Key]int, len(device.Peers))
	for i := range device.Peers {
		at[Key(device.Peers[i].PublicKey)] = i
	}
	for _, p := range d.last.config.Peers {
		i, found := at[p.PublicKey]
		if !found {
			continue
		}
		have := &device.Peers[i]
		peer := PeerStatus{Name: p.Name, PublicKey: p.PublicKey, ReceivedBytes: have.ReceiveBytes, SentBytes: have.TransmitBytes}
		if have.Endpoint != nil {
			endpoint := have.Endpoint.AddrPort()
			peer.Endpoint = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port())
		}
		// The protocol's zero is a time of 1970, not Go's zero.
		if have.LastHandshakeTime.Unix() > 0 {
			peer.Handshake = have.LastHandshakeTime
		}
		status.Peers = append(status.Peers, peer)
	}
	return status, nil
}

func (d *Device) mode() Mode {
	if d.user != nil {
		return Userspace
	}
	return Kernel
}

// Close ends this process's part. In user-space mode the interface goes with
// it; the kernel's stays, with its sessions, for the next Device.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks.Wait()
	d.last = nil
	d.watched.Store(nil)
	return d.release()
}

// release lets go of everything but what is in the kernel.
func (d *Device) release() error {
	var errs []error
	if d.user != nil {
		d.user.close()
		d.user = nil
	}
	if d.client != nil {
		errs = append(errs, d.client.Close())
		d.client = nil
	}
	if d.handle != nil {
		d.handle.Close()
		d.handle = nil
	}
	return errors.Join(errs...)
}
