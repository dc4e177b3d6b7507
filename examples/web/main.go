// Command web is the service that the demo and the end-to-end suites deploy: a
// small HTTP server that says who it is, and that fails on request.
//
//	PORT          port to listen on (default 8080)
//	MESSAGE       first line of the answer (default "hello")
//	MESSAGE_FILE  a file with the first line, instead of MESSAGE
//	VERSION       set by the image; printed in the answer
//	START_DELAY   seconds to wait before listening (default 0)
//	UNHEALTHY     "yes": /healthz answers 503 from the start
//	FAIL_HEALTH_AFTER  seconds after which /healthz answers 503
//	EXIT_AFTER    seconds after which the process ends by itself
//	EXIT_CODE     its status then (default 1)
//
// "web -probe URL" makes one request and ends with status 0 when it was
// answered with 200: a healthcheck for an image that has no shell.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "-probe" {
		os.Exit(probe(context.Background(), os.Args[2]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code, err := run(ctx, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
	}
	os.Exit(code)
}

func probe(ctx context.Context, url string) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		fmt.Println(resp.Status)
		return 1
	}
	return 0
}

// run serves until the context ends or EXIT_AFTER has passed, and returns the
// status to end with.
func run(ctx context.Context, env func(string) string) (int, error) {
	if !wait(ctx, seconds(env, "START_DELAY", 0)) {
		return 0, nil
	}
	srv := &http.Server{
		Addr:              ":" + or(env("PORT"), "8080"),
		Handler:           handler(env, time.Now()),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe() }()
	fmt.Printf("web %s listens on %s\n", env("VERSION"), srv.Addr)

	code := 0
	select {
	case err := <-served:
		return 1, fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	case <-after(env):
		code = 1
		if n, err := strconv.Atoi(env("EXIT_CODE")); err == nil {
			code = n
		}
	}
	// Requests in flight are answered, new ones refused.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return code, fmt.Errorf("shut down: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return code, fmt.Errorf("serve: %w", err)
	}
	fmt.Println("web stopped")
	return code, nil
}

func handler(env func(string) string, start time.Time) http.Handler {
	host, _ := os.Hostname()
	failAfter := seconds(env, "FAIL_HEALTH_AFTER", -1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		message, err := message(env)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, "%s\nversion %s\nhost %s\n", message, or(env("VERSION"), "0"), host)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if env("UNHEALTHY") == "yes" || failAfter >= 0 && time.Since(start) >= failAfter {
			http.Error(w, "unhealthy on request", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// message is what the service has to say, as a secret or not.
func message(env func(string) string) (string, error) {
	file := env("MESSAGE_FILE")
	if file == "" {
		return or(env("MESSAGE"), "hello"), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	return string(data), nil
}

// after fires when EXIT_AFTER has passed; without it, never.
func after(env func(string) string) <-chan time.Time {
	if d := seconds(env, "EXIT_AFTER", -1); d >= 0 {
		return time.After(d)
	}
	return nil
}

// wait says false when the context ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// seconds reads a variable as seconds, fractions allowed.
func seconds(env func(string) string, name string, unset time.Duration) time.Duration {
	f, err := strconv.ParseFloat(env(name), 64)
	if err != nil {
		return unset
	}
	return time.Duration(f * float64(time.Second))
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
