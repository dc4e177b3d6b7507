package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshDialer runs git-upload-pack on an ssh server. It reads no user's
// configuration, asks no agent, and learns no host key.
type sshDialer struct {
	where  endpoint
	signer ssh.Signer
	hosts  []byte
}

var _ dialer = (*sshDialer)(nil)

func newSSHDialer(where endpoint, c Credentials) (*sshDialer, error) {
	signer, err := parseSSHKey(c.SSHKey)
	if err != nil {
		return nil, err
	}
	return &sshDialer{where: where, signer: signer, hosts: c.KnownHosts}, nil
}

// checkKnownHosts reads every line.
func checkKnownHosts(data []byte) error {
	rest := data
	for {
		_, _, _, _, next, err := ssh.ParseKnownHosts(rest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			line := bytes.Count(data[:len(data)-len(rest)], []byte("\n")) + 1
			return fmt.Errorf("known hosts, at or after line %d: %w", line, err)
		}
		rest = next
	}
}

// hostKeys returns the check of host keys, and the algorithms by which the
// server can show a key that is pinned: it has several and would pick another.
func (d *sshDialer) hostKeys() (ssh.HostKeyCallback, []string, error) {
	// The library reads files only.
	file, err := os.CreateTemp("", "jaco-known-hosts-")
	if err != nil {
		return nil, nil, fmt.Errorf("read known hosts: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(d.hosts)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, nil, fmt.Errorf("read known hosts: %w", err)
	}
	check, err := knownhosts.New(file.Name())
	if err != nil {
		return nil, nil, fmt.Errorf("read known hosts: %w", err)
	}
	var mismatch *knownhosts.KeyError
	if err := check(d.where.address(), &net.TCPAddr{IP: net.IPv4zero, Port: d.where.port}, d.signer.PublicKey()); !errors.As(err, &mismatch) {
		// Our own key as the host's: revoked, or pinned by mistake. The server
		// will not show it.
		return check, nil, nil
	}
	var algorithms []string
	for _, known := range mismatch.Want {
		kind := known.Key.Type()
		if kind == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else if !slices.Contains(algorithms, kind) {
			algorithms = append(algorithms, kind)
		}
	}
	return check, algorithms, nil
}

// dial implements dialer.
func (d *sshDialer) dial(ctx context.Context) (conversation, error) {
	check, algorithms, err := d.hostKeys()
	if err != nil {
		return nil, adviseDisk(os.TempDir(), err)
	}
	var hostErr error
	config := &ssh.ClientConfig{
		User: d.where.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(d.signer)}, HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			hostErr = d.judgeHost(check(host, remote, key), key)
			return hostErr
		},
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", d.where.address())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	watched := &idleConn{Conn: conn}
	transport, channels, requests, err := ssh.NewClientConn(watched, d.where.address(), config)
	if err != nil {
		stop()
		_ = conn.Close() // the error at hand says more
		if hostErr != nil {
			return nil, hostErr
		}
		return nil, d.refused(ctx, err)
	}
	c := &sshConversation{client: ssh.NewClient(transport, channels, requests), stop: stop, cause: func() error { return context.Cause(ctx) }}
	if err := c.start(d.where.path); err != nil {
		return nil, errors.Join(c.explain(err), c.Close())
	}
	return c, nil
}

// judgeHost makes a person's sentence of a host key's refusal.
func (d *sshDialer) judgeHost(err error, key ssh.PublicKey) error {
	if err == nil {
		return nil
	}
	var mismatch *knownhosts.KeyError
	if errors.As(err, &mismatch) && len(mismatch.Want) == 0 {
		return fmt.Errorf("%w: %w: no key is pinned for host %s; %s", ErrUnreachable, ErrHostKey, d.where.host, d.where.keyscanAdvice())
	}
	return fmt.Errorf("%w: %w: host %s shows %s %s, which is not the pinned key; if the host says that it changed its key, %s",
		ErrUnreachable, ErrHostKey, d.where.host, key.Type(), ssh.FingerprintSHA256(key), d.where.keyscanAdvice())
}

// refused tells a refused key from a broken connection; the library gives a
// plain text for the former.
func (d *sshDialer) refused(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, cause)
	}
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: %w: %s refuses user %s with the key %s; add its public half as a deploy key",
			ErrUnreachable, ErrDenied, d.where.host, d.where.user, ssh.FingerprintSHA256(d.signer.PublicKey()))
	}
	return fmt.Errorf("%w: ssh to %s: %w", ErrUnreachable, d.where.address(), err)
}

// sshConversation is one git-upload-pack on the server.
type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  tailBuffer
	stop    func() bool
	asked   bool
	cause   func() error // why the context ended, nil while it has not
}

func (c *sshConversation) start(path string) error {
	session, err := c.client.NewSession()
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	c.session = session
	session.Stderr = &c.stderr
	if c.stdin, err = session.StdinPipe(); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	if c.stdout, err = session.StdoutPipe(); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	command := uploadPack + " '" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	if err := session.Start(command); err != nil {
		return fmt.Errorf("start git-upload-pack: %w", err)
	}
	return nil
}

func (c *sshConversation) advertisement() io.Reader { return c.stdout }

func (c *sshConversation) ask(request []byte) (io.Reader, error) {
	c.asked = true
	if _, err := c.stdin.Write(request); err != nil {
		return nil, c.explain(fmt.Errorf("send request: %w", err))
	}
	return c.stdout, nil
}

func (c *sshConversation) explain(err error) error {
	if cause := c.cause(); cause != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, cause)
	}
	if mine(err) {
		return err
	}
	if errors.Is(err, packp.ErrEmptyInput) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// The server has ended: what it had to say is complete after Wait.
		_ = c.session.Wait()
	}
	said := c.stderr.String()
	if said == "" {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	lower := strings.ToLower(said)
	for _, sign := range []string{"not appear to be a git repository", "not found", "does not exist", "no such"} {
		if strings.Contains(lower, sign) {
			return fmt.Errorf("%w: %w: the server says: %s", ErrUnreachable, ErrGone, said)
		}
	}
	return fmt.Errorf("%w: %w; the server says: %s", ErrUnreachable, err, said)
}

// Close implements conversation. A server that waits for a request is told
// that none comes.
func (c *sshConversation) Close() error {
	if !c.asked && c.stdin != nil {
		_, _ = io.WriteString(c.stdin, "0000")
	}
	c.stop()
	if err := c.client.Close(); err != nil && !errors.Is(err, net.ErrClosed) && c.cause() == nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// idleConn ends a connection on which nothing moves.
type idleConn struct{ net.Conn }

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// tailBuffer keeps the end of what a server says beside the data. The session
// writes into it while others read.
type tailBuffer struct {
	mu   sync.Mutex // guards the field below
	data []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 4096
	b.data = append(b.data, p...)
	b.data = b.data[max(0, len(b.data)-most):]
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return printable(b.data)
}
