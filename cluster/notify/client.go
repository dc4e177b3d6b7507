package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jaco-sh/jaco/desired"
)

const (
	requestTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, maxSaid how much of it is
	// repeated.
	maxAnswer = 64 << 10
	maxSaid   = 200
)

// Secrets opens the secrets that cluster.yaml names.
type Secrets interface {
	// Secret returns what a secret of cluster.yaml stands for: one that is
	// encrypted (desired.IsEncrypted), or a name. What is returned is not kept.
	Secret(ctx context.Context, secret string) ([]byte, error)
}

// NewTransport returns the transport for Config: TLS 1.2 or newer, verified
// against the system's authorities, bounded in every step.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: requestTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    requestTimeout,
		ResponseHeaderTimeout:  requestTimeout,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// client posts JSON. It follows no redirect: what goes along would go there too.
type client struct {
	http    *http.Client
	secrets Secrets
}

func newClient(transport http.RoundTripper, secrets Secrets) *client {
	return &client{secrets: secrets, http: &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// secret opens a secret that is a line of text.
func (c *client) secret(ctx context.Context, secret string) (string, error) {
	name := secretLabel(secret)
	data, err := c.secrets.Secret(ctx, secret)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || strings.ContainsFunc(text, unicode.IsControl) {
		return "", fmt.Errorf("%s is not one line of text", name)
	}
	return text, nil
}

// secretLabel names a secret for people.
func secretLabel(secret string) string {
	if desired.IsEncrypted(secret) {
		return "the secret in cluster.yaml"
	}
	return "secret " + secret
}

// call is one request.
type call struct {
	address  string
	insecure bool // address may be http
	header   http.Header
	body     []byte
	hide     []string // what no error may repeat
}

// post makes a call. What is no success is an *answerError, or the error of the
// connection.
func (c *client) post(ctx context.Context, p call) error {
	if err := desired.CheckEndpoint(p.address, p.insecure); err != nil {
		return fmt.Errorf("the URL %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, bytes.NewReader(p.body))
	if err != nil { // whose text would repeat the URL
		return errors.New("the URL makes no request")
	}
	request.Header = p.header.Clone()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "jacod")
	response, err := c.http.Do(request)
	if err != nil {
		return withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil // whatever it says
	}
	said, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		said = nil // its status says enough
	}
	return answer(response, said, p.hide)
}

// encode makes a body of a value.
func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: encode: %w", errFinal, err)
	}
	return data, nil
}

// withoutURL takes the URL out of an error of net/http: it may be a secret.
func withoutURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// answerError is an answer that is no success.
type answerError struct {
	code int
	said string
}

// Error implements error.
func (e *answerError) Error() string {
	text := fmt.Sprintf("answered %d %s", e.code, http.StatusText(e.code))
	if e.code/100 == 3 {
		text += ", a redirect, which is not followed: if the new place is right, name it as the URL"
	}
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

// answer makes an error of an answer, with what to do about it.
func answer(response *http.Response, body []byte, hide []string) error {
	err := error(&answerError{response.StatusCode, saying(body, hide)})
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	if seconds, parseErr := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 32); parseErr == nil {
		return &retryError{err, time.Duration(seconds) * time.Second}
	}
	return err
}

// saying is the beginning of an answer as it may be repeated: one line, without
// what must not be known.
func saying(body []byte, hide []string) string {
	text := string(body)
	for _, secret := range hide {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))), " ")
	return cut(text, maxSaid)
}

// cut shortens a text to so many bytes, at the border of a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	const mark = "…"
	text = text[:most-len(mark)]
	return strings.ToValidUTF8(text, "") + mark
}
