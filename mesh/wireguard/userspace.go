package wireguard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// socketDirectory is where wgctrl and wg(8) look for the sockets of WireGuard
// in user space. It is one for the whole machine.
const socketDirectory = "/var/run/wireguard"

func socketPath(name string) string { return filepath.Join(socketDirectory, name+".sock") }

// userspace is wireguard-go in this process, with the socket that it is
// configured through.
type userspace struct {
	name   string
	index  int // of its interface
	device *device.Device
	tasks  sync.WaitGroup
	stop   context.CancelFunc

	mu       sync.Mutex // guards the fields below
	listener *net.UnixListener
	inode    uint64 // of the socket's file
	open     map[net.Conn]bool
}

// startUserspace makes the interface and what works it. ctx is the time of its
// life. The caller holds the lock.
func (d *Device) startUserspace(ctx context.Context, name string, mtu int) (*userspace, error) {
	if err := socketFree(ctx, name); err != nil {
		return nil, err
	}
	wire, err := tun.CreateTUN(name, mtu)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("make interface %s: another process works an interface of this name; end it, or set wireguard.interface: %w", name, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), err != nil && strings.Contains(err.Error(), "does not exist"):
		return nil, fmt.Errorf("make interface %s: the kernel has no tun devices (modprobe tun; in a container, give it /dev/net/tun): %w", name, err)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("make interface %s: the right CAP_NET_ADMIN is missing; run as root: %w", name, err)
	case err != nil:
		return nil, fmt.Errorf("make interface %s: %w", name, err)
	}
	link, err := d.handle.LinkByName(name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find interface %s: %w", name, err), wire.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	u := &userspace{name: name, index: link.Attrs().Index, stop: cancel, open: map[net.Conn]bool{}}
	u.device = device.NewDevice(wire, conn.NewDefaultBind(), &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf: func(format string, args ...any) {
			d.logger.Debug("wireguard-go reports an error", "error", fmt.Sprintf(format, args...))
		},
	})
	if err := u.serve(); err != nil {
		u.close()
		return nil, err
	}
	h, every := d.handle, d.memoryTick
	u.tasks.Go(func() { u.giveBackMemory(ctx, h, every) })
	return u, nil
}

// socketFree removes the socket of a process that is gone. One that somebody
// answers on is an error that names him.
func socketFree(ctx context.Context, name string) error {
	path := socketPath(name)
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale socket: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("look at socket %s: %w", path, err)
	}
	defer c.Close()
	return fmt.Errorf("socket %s belongs to %s: WireGuard's sockets are one set for the whole machine, in whatever network namespace; end that process, or set wireguard.interface", path, owner(c))
}

// owner names the process at the other end of a unix socket.
func owner(c net.Conn) string {
	const unknown = "another process"
	u, ok := c.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return unknown
	}
	var credentials *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return unknown
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(int(credentials.Pid)) + "/comm")
	if err != nil {
		return fmt.Sprintf("process %d", credentials.Pid)
	}
	return fmt.Sprintf("process %d (%s)", credentials.Pid, strings.TrimSpace(string(name)))
}

// serve listens on the socket, anew when its file is gone or another's.
func (u *userspace) serve() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	path := socketPath(u.name)
	if u.listener != nil {
		if inode, err := inodeOf(path); err == nil && inode == u.inode {
			return nil
		}
		u.listener.Close()
	}
	listener, err := listenPrivately(path)
	if err != nil {
		return fmt.Errorf("listen for WireGuard's configuration: %w", err)
	}
	if u.inode, err = inodeOf(path); err != nil {
		listener.Close()
		return fmt.Errorf("listen for WireGuard's configuration: %w", err)
	}
	u.listener = listener
	u.tasks.Go(func() { u.accept(listener) })
	return nil
}

// listenPrivately makes a socket that nobody but root may ever connect to: it
// is made in a directory of its own and moved when its mode is right.
func listenPrivately(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(filepath.Dir(path), ".new-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	first := filepath.Join(private, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(first, 0o600)
	if err == nil {
		err = os.Rename(first, path)
	}
	if err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	return st.Ino, nil
}

// accept serves connections until the listener is closed.
func (u *userspace) accept(listener *net.UnixListener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		if u.open == nil {
			u.mu.Unlock()
			c.Close()
			return
		}
		u.open[c] = true
		u.tasks.Go(func() {
			u.device.IpcHandle(c) // closes it
			u.mu.Lock()
			defer u.mu.Unlock()
			delete(u.open, c)
		})
		u.mu.Unlock()
	}
}

// ended reports whether wireguard-go gave up, as it does when its interface is
// deleted.
func (u *userspace) ended() bool {
	select {
	case <-u.device.Wait():
		return true
	default:
		return false
	}
}

// close ends everything that startUserspace made, the interface included.
func (u *userspace) close() {
	u.stop()
	u.mu.Lock()
	if u.listener != nil {
		u.listener.Close()
		if inode, err := inodeOf(socketPath(u.name)); err == nil && inode == u.inode {
			os.Remove(socketPath(u.name))
		}
	}
	for c := range u.open {
		c.Close()
	}
	u.open = nil
	u.mu.Unlock()
	u.device.Close()
	u.tasks.Wait()
}

// How wireguard-go's memory comes back.
const (
	memoryTick = 30 * time.Second
	// memoryQuiet is the traffic within a tick, bytes, that counts as none, and
	// memoryWorth what must have flowed before it is worth the trouble.
	memoryQuiet = 1 << 20
	memoryWorth = 16 << 20
)

// giveBackMemory returns wireguard-go's packet buffers to the kernel when a
// burst of traffic is over. They are 64 KiB each, hundreds of MiB after traffic
// at full speed, and without a limit in its source (PreallocatedBuffersPerPool
// is a constant, 0 on Linux); left alone, the runtime keeps most of them.
func (u *userspace) giveBackMemory(ctx context.Context, h *netlink.Handle, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last, freed uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		link, err := h.LinkByIndex(u.index)
		if err != nil || link.Attrs().Statistics == nil {
			continue
		}
		total := link.Attrs().Statistics.RxBytes + link.Attrs().Statistics.TxBytes
		if total-last < memoryQuiet && total-freed > memoryWorth {
			// What is in a sync.Pool outlives one collection: the first one here only
			// moves the buffers aside.
			runtime.GC()
			debug.FreeOSMemory()
			freed = total
		}
		last = total
	}
}
