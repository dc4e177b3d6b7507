// Command peer is what the suites of the mesh put into containers: it answers
// over TCP and UDP with what it was sent, and is as healthy as it was told.
//
//	peer                 serves, until a signal ends it:
//	                       TCP and UDP 7007  an echo
//	                       TCP 8080          GET /healthz; POST /health?ok=false or true
//	peer -probe URL      one request; status 0 when it was answered with 200
//	peer -resolve NAME   looks a name up with Go's own resolver and prints the
//	                     addresses, one a line, sorted
//
// START_UNHEALTHY=yes has it unhealthy from the start.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	echoAddress = ":7007"
	httpAddress = ":8080"
	patience    = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return serve(ctx)
	case len(args) == 2 && args[0] == "-probe":
		return probe(ctx, args[1])
	case len(args) == 2 && args[0] == "-resolve":
		return resolve(ctx, args[1])
	}
	return errors.New("usage: peer [-probe URL | -resolve NAME]")
}

func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func resolve(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resolver := &net.Resolver{PreferGo: true}
	addresses, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return err
	}
	var lines []string
	for _, a := range addresses {
		lines = append(lines, a.Unmap().String())
	}
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		fmt.Println(line)
	}
	return nil
}

// serve answers until the context ends or a listener fails.
func serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listen net.ListenConfig
	tcp, err := listen.Listen(ctx, "tcp", echoAddress)
	if err != nil {
		return err
	}
	udp, err := listen.ListenPacket(ctx, "udp", echoAddress)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: httpAddress, Handler: health(os.Getenv("START_UNHEALTHY") != "yes"), ReadHeaderTimeout: patience}
	context.AfterFunc(ctx, func() { _, _, _ = tcp.Close(), udp.Close(), server.Close() })
	ended := make(chan error, 3)
	go func() { ended <- echoTCP(tcp) }()
	go func() { ended <- echoUDP(udp) }()
	go func() { ended <- server.ListenAndServe() }()
	fmt.Println("peer serves")
	err = <-ended
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	for range 2 {
		if late := <-ended; !errors.Is(late, net.ErrClosed) && !errors.Is(late, http.ErrServerClosed) {
			err = errors.Join(err, late)
		}
	}
	return err
}

func health(healthy bool) http.Handler {
	var sick atomic.Bool
	sick.Store(!healthy)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "unhealthy on request", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /health", func(_ http.ResponseWriter, r *http.Request) { sick.Store(r.FormValue("ok") == "false") })
	return mux
}

func echoTCP(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with its peer, or with the process
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

func echoUDP(conn net.PacketConn) error {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err == nil {
			_, _ = conn.WriteTo(buffer[:n], from) // what cannot be answered is lost, as packets are
		}
	}
}
