package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/jaco-sh/jaco/signing"
)

const (
	uploadPack = "git-upload-pack"
	// dialTimeout bounds a connection's making, idleTimeout the time without a
	// byte: a server that counts objects sends a sign of life every 5 s.
	dialTimeout = 20 * time.Second
	idleTimeout = time.Minute
	// maxAdvertisement bounds the list of refs: some 600,000 of them.
	maxAdvertisement = 64 * mebibyte
	// agent names us to the server; it may count, it learns no version.
	agent = "agent=jaco"
)

// dialer connects to a git server.
type dialer interface {
	// dial opens a conversation with git-upload-pack. The context bounds it as
	// a whole, not only its beginning.
	dial(ctx context.Context) (conversation, error)
}

// conversation is one exchange with git-upload-pack, protocol version 0: the
// server lists its refs, the client may ask for one pack. Its methods are not
// for concurrent use.
type conversation interface {
	// advertisement is what the server sends first.
	advertisement() io.Reader
	// ask sends a request and returns the answer.
	ask(request []byte) (io.Reader, error)
	// explain turns an error of reading into what the server said about it.
	explain(err error) error
	Close() error
}

// advertised are the refs of a repository.
type advertised struct {
	refs         map[string]plumbing.Hash
	peeled       map[string]plumbing.Hash // of annotated tags: what they point to
	capabilities string
}

// readAdvertisement reads the list of refs. A repository without any gives an
// empty list.
func readAdvertisement(c conversation) (*advertised, error) {
	var start bytes.Buffer
	limited := &capReader{r: c.advertisement(), left: maxAdvertisement, what: "the list of refs", limit: maxAdvertisement}
	refs := packp.NewAdvRefs()
	err := refs.Decode(io.TeeReader(limited, &prefixWriter{buffer: &start, left: 4096}))
	if strings.Contains(start.String(), "object-format=sha256") {
		return nil, fmt.Errorf("%w: its objects have SHA-256 ids; make one with the default format (git init --object-format=sha1)", ErrFormat)
	}
	if errors.Is(err, packp.ErrEmptyAdvRefs) {
		return &advertised{}, nil
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return &advertised{refs: refs.References, peeled: refs.Peeled, capabilities: refs.Capabilities.String()}, nil
}

// prefixWriter keeps the first bytes of a stream.
type prefixWriter struct {
	buffer *bytes.Buffer
	left   int
}

func (w *prefixWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	w.buffer.Write(p[:n])
	return len(p), nil
}

// head picks the branch out of the refs.
func (a *advertised) head(branch string) (signing.Hash, error) {
	if id, found := a.refs["refs/heads/"+branch]; found {
		return signing.Hash(id), nil
	}
	var branches []string
	for name := range a.refs {
		if short, found := strings.CutPrefix(name, "refs/heads/"); found {
			branches = append(branches, short)
		}
	}
	return signing.Hash{}, missingBranch(branch, branches)
}

// missingBranch says what there is instead of the branch.
func missingBranch(branch string, branches []string) error {
	if len(branches) == 0 {
		return fmt.Errorf("%w: push a signed commit to %s", ErrEmpty, branch)
	}
	const most = 5
	slices.Sort(branches)
	list := strings.Join(branches[:min(most, len(branches))], ", ")
	if len(branches) > most {
		list = fmt.Sprintf("%s and %d more", list, len(branches)-most)
	}
	return fmt.Errorf("%w: %s; the repository has %s", ErrNoBranch, branch, list)
}

// packRequest asks for everything that the wanted objects need beyond what the
// commits in have need. No multi_ack: the answer is then one line and the
// pack. No thin-pack: every pack stands alone.
func packRequest(capabilities string, want, have []signing.Hash) ([]byte, error) {
	offered := strings.Fields(capabilities)
	if !slices.Contains(offered, "side-band-64k") {
		return nil, fmt.Errorf("%w: the server's git is too old (no side-band-64k)", ErrUnreachable)
	}
	capabilitiesLine := " side-band-64k"
	for _, c := range []string{"ofs-delta", "no-progress"} {
		if slices.Contains(offered, c) {
			capabilitiesLine += " " + c
		}
	}
	var request bytes.Buffer
	e := pktline.NewEncoder(&request)
	var err error
	for i, id := range want {
		line := "want " + id.String()
		if i == 0 {
			line += capabilitiesLine + " " + agent
		}
		err = errors.Join(err, e.EncodeString(line+"\n"))
	}
	err = errors.Join(err, e.Flush())
	for _, id := range have {
		err = errors.Join(err, e.EncodeString("have "+id.String()+"\n"))
	}
	if err := errors.Join(err, e.EncodeString("done\n")); err != nil {
		return nil, fmt.Errorf("write fetch request: %w", err)
	}
	return request.Bytes(), nil
}

// packStream reads the pack out of the answer to a packRequest.
type packStream struct {
	lines *pktline.Scanner
	data  []byte
	begun bool // the pack has begun, acknowledgements are over
	ended bool
}

func newPackStream(answer io.Reader) *packStream {
	return &packStream{lines: pktline.NewScanner(answer)}
}

// The side bands of the protocol.
const (
	bandData     = 1
	bandProgress = 2
	bandError    = 3
)

// Read implements io.Reader.
func (s *packStream) Read(p []byte) (int, error) {
	for len(s.data) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

// next takes one line.
func (s *packStream) next() error {
	if !s.lines.Scan() {
		if err := s.lines.Err(); err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		return fmt.Errorf("read pack: %w", io.ErrUnexpectedEOF)
	}
	line := s.lines.Bytes()
	if len(line) == 0 {
		s.ended = s.begun // a flush before the pack separates sections
		return nil
	}
	if !s.begun && (bytes.HasPrefix(line, []byte("NAK")) || bytes.HasPrefix(line, []byte("ACK "))) {
		return nil
	}
	s.begun = true
	switch line[0] {
	case bandData:
		s.data = line[1:]
	case bandProgress:
	case bandError:
		return fmt.Errorf("read pack: the server says: %s", printable(line[1:]))
	default:
		return fmt.Errorf("read pack: unexpected line %q", printable(line))
	}
	return nil
}

// capReader ends a stream that is longer than it may be.
type capReader struct {
	r     io.Reader
	left  int64
	what  string
	limit int64
}

// Read implements io.Reader.
func (c *capReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		// One byte more tells a stream that ends here from one that goes on.
		var one [1]byte
		if n, err := c.r.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("%w: %s is larger than %d bytes", ErrTooLarge, c.what, c.limit)
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// printable shortens what a server said to one line fit for a status.
func printable(text []byte) string {
	const most = 300
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, string(text[:min(len(text), most)]))
	return strings.Join(strings.Fields(clean), " ")
}

// idleWatch cancels an exchange that stands still. Whoever made it must stop it.
type idleWatch struct {
	timer *time.Timer
}

func newIdleWatch(cancel context.CancelCauseFunc) *idleWatch {
	return &idleWatch{timer: time.AfterFunc(idleTimeout, func() {
		cancel(fmt.Errorf("%w: no byte for %s", ErrUnreachable, idleTimeout))
	})}
}

func (w *idleWatch) alive() { w.timer.Reset(idleTimeout) }
func (w *idleWatch) stop()  { w.timer.Stop() }
