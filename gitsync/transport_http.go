package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// httpDialer speaks git's smart HTTP. Connections are kept for the next poll.
type httpDialer struct {
	client         *http.Client
	base           string
	user, password string
}

var _ dialer = (*httpDialer)(nil)

func newHTTPDialer(rawURL string, c Credentials) *httpDialer {
	d := &httpDialer{base: strings.TrimSuffix(rawURL, "/")}
	if token := strings.TrimSpace(string(c.Token)); token != "" {
		d.user, d.password = "x-access-token", token
		if user, password, found := strings.Cut(token, ":"); found {
			d.user, d.password = user, password
		}
	}
	d.client = &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: idleTimeout,
			IdleConnTimeout:       2 * time.Minute,
			MaxIdleConnsPerHost:   2,
			ForceAttemptHTTP2:     true,
		},
	}
	return d
}

// checkRedirect follows a server within itself only: the credentials go along.
func checkRedirect(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	if next.URL.Hostname() != first.Hostname() || first.Scheme == schemeHTTPS && next.URL.Scheme != schemeHTTPS {
		return fmt.Errorf("the server redirects to %s://%s%s: if that is right, use it as the repository's URL", next.URL.Scheme, next.URL.Host, next.URL.Path)
	}
	if len(before) >= 5 {
		return errors.New("the server redirects without end")
	}
	return nil
}

func (d *httpDialer) close() { d.client.CloseIdleConnections() }

// dial implements dialer.
func (d *httpDialer) dial(ctx context.Context) (conversation, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &httpConversation{
		dialer: d, cancel: cancel, idle: newIdleWatch(cancel),
		request: func(method, address string, body io.Reader) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, method, address, body)
		},
		cause: func() error {
			if ctx.Err() == nil {
				return nil
			}
			return context.Cause(ctx)
		},
	}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// httpConversation is a query of the refs and at most one fetch.
type httpConversation struct {
	dialer  *httpDialer
	cancel  context.CancelCauseFunc
	idle    *idleWatch
	request func(method, address string, body io.Reader) (*http.Request, error)
	cause   func() error // why the context ended, nil while it has not
	base    string       // after redirects
	body    io.ReadCloser
}

func (c *httpConversation) start() error {
	const suffix = "/info/refs"
	request, err := c.request(http.MethodGet, c.dialer.base+suffix+"?service="+uploadPack, nil)
	if err != nil {
		return fmt.Errorf("query refs: %w", err)
	}
	final, err := c.send(request, "application/x-git-upload-pack-advertisement")
	if err != nil {
		return err
	}
	final.RawQuery = ""
	c.base = strings.TrimSuffix(final.String(), suffix)
	return nil
}

func (c *httpConversation) advertisement() io.Reader { return &aliveReader{c} }

func (c *httpConversation) ask(body []byte) (io.Reader, error) {
	c.closeBody()
	request, err := c.request(http.MethodPost, c.base+"/"+uploadPack, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("request pack: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	if _, err := c.send(request, "application/x-git-upload-pack-result"); err != nil {
		return nil, err
	}
	return &aliveReader{c}, nil
}

// send makes one request, whose answer's body becomes the one that is read,
// and returns where redirects led.
func (c *httpConversation) send(request *http.Request, want string) (*url.URL, error) {
	request.Header.Set("Accept", want)
	request.Header.Set("User-Agent", "git/2 (jaco)") // some hosts look for "git/"
	if c.dialer.password != "" {
		request.SetBasicAuth(c.dialer.user, c.dialer.password)
	}
	c.idle.alive()
	response, err := c.dialer.client.Do(request) //nolint:bodyclose // closeBody does, when the answer was read
	if err != nil {
		return nil, c.explain(err)
	}
	c.body = response.Body
	if err := c.judge(response, want); err != nil {
		return nil, err
	}
	final := *response.Request.URL
	return &final, nil
}

// judge makes a person's sentence of an answer that is not git's.
func (c *httpConversation) judge(response *http.Response, want string) error {
	host := response.Request.URL.Host
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		if c.dialer.password == "" {
			return fmt.Errorf("%w: %w: %s asks for credentials (%s); give a token with --token-file", ErrUnreachable, ErrDenied, host, response.Status)
		}
		return fmt.Errorf("%w: %w: %s refuses the token (%s); it may have expired or lack the right to read the repository",
			ErrUnreachable, ErrDenied, host, response.Status)
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %w: %s answers %s; the path is wrong, or the token may not see it", ErrUnreachable, ErrGone, host, response.Status)
	default:
		return fmt.Errorf("%w: %s answers %s", ErrUnreachable, host, response.Status)
	}
	if kind := response.Header.Get("Content-Type"); kind != want {
		return fmt.Errorf("%w: %s is not a git server there: it answers with %q", ErrUnreachable, host, printable([]byte(kind)))
	}
	return nil
}

func (c *httpConversation) explain(err error) error {
	if cause := c.cause(); cause != nil {
		if errors.Is(cause, ErrUnreachable) {
			return cause
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, cause)
	}
	if mine(err) || errors.Is(err, ErrUnreachable) {
		return err
	}
	// url.Error repeats the whole URL.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// Close implements conversation.
func (c *httpConversation) Close() error {
	defer c.cancel(nil)
	c.idle.stop()
	c.closeBody()
	return nil
}

// closeBody reads the last bytes of an answer, without which the connection
// could not be used again.
func (c *httpConversation) closeBody() {
	if c.body == nil {
		return
	}
	const most = 4096
	_, _ = io.CopyN(io.Discard, c.body, most)
	c.body.Close()
	c.body = nil
}

// aliveReader reads the current body and notes that something moved.
type aliveReader struct{ c *httpConversation }

func (r *aliveReader) Read(p []byte) (int, error) {
	n, err := r.c.body.Read(p)
	if n > 0 {
		r.c.idle.alive()
	}
	return n, err
}
