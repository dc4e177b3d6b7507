package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
)

// line is one pkt-line.
func line(payload string) string { return fmt.Sprintf("%04x%s", len(payload)+4, payload) }

func TestPackStream(t *testing.T) {
	for name, test := range map[string]struct {
		answer, want, err string
	}{
		"nothing in common":  {line("NAK\n") + line("\x01PACK") + line("\x01 data") + "0000", "PACK data", ""},
		"something":          {line("ACK 0123\n") + line("\x01PACK") + "0000", "PACK", ""},
		"progress":           {line("NAK\n") + line("\x02counting") + line("\x01PACK") + line("\x02done") + "0000", "PACK", ""},
		"flush before":       {"0000" + line("NAK\n") + line("\x01PACK") + "0000", "PACK", ""},
		"what follows":       {line("NAK\n") + line("\x01PACK") + "0000" + line("\x01more"), "PACK", ""},
		"data like an ack":   {line("NAK\n") + line("\x01ACK ") + line("\x01NAK") + "0000", "ACK NAK", ""},
		"cut":                {line("NAK\n") + line("\x01PACK"), "PACK", "unexpected EOF"},
		"cut in a line":      {line("NAK\n") + line("\x01PACK")[:6], "", "unexpected EOF"},
		"empty":              {"", "", "unexpected EOF"},
		"the server's error": {line("NAK\n") + line("\x03out of\x07 memory\n"), "", "the server says: out of memory"},
		"refusal":            {line("ERR upload-pack: not our ref\n"), "", "not our ref"},
		"another band":       {line("NAK\n") + line("\x09data"), "", "unexpected line"},
		"late ack":           {line("NAK\n") + line("\x01PACK") + line("ACK 01\n"), "PACK", "unexpected line"},
		"wrong length":       {"zzzz", "", "pkt-len"},
		"bare pack":          {line("NAK\n") + "PACK\x00\x00", "", "pkt-len"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := io.ReadAll(newPackStream(strings.NewReader(test.answer)))
			if string(got) != test.want {
				t.Errorf("read %q, want %q", got, test.want)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestPackRequest(t *testing.T) {
	got, err := packRequest("multi_ack thin-pack side-band side-band-64k ofs-delta no-progress agent=git/2.39", []signing.Hash{{1}, {4}}, []signing.Hash{{2}, {3}})
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("0", 38)
	want := line("want 01"+zeros+" side-band-64k ofs-delta no-progress agent=jaco\n") + line("want 04"+zeros+"\n") + "0000" +
		line("have 02"+zeros+"\n") + line("have 03"+zeros+"\n") + line("done\n")
	if string(got) != want {
		t.Errorf("request %q, want %q", got, want)
	}
	if _, err := packRequest("side-band", []signing.Hash{{1}}, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

func TestCapReader(t *testing.T) {
	for size, want := range map[int]bool{9: true, 10: true, 11: false, 1000: false} {
		r := &capReader{r: strings.NewReader(strings.Repeat("x", size)), left: 10, what: "it", limit: 10}
		got, err := io.ReadAll(r)
		if (err == nil) != want || !want && (!errors.Is(err, ErrTooLarge) || len(got) != 10) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable([]byte("fatal:\x1b[31m no\n\n such \xff thing\x00 ")); got != "fatal: [31m no such thing" {
		t.Errorf("%q", got)
	}
	if got := printable(bytes.Repeat([]byte("x"), 5000)); len(got) != 300 {
		t.Errorf("%d bytes", len(got))
	}
}

// TestBrokenPacks are packs that a server might send by mistake or on purpose.
func TestBrokenPacks(t *testing.T) {
	for name, pack := range map[string]string{
		"junk":                "not a pack at all",
		"empty":               "PACK\x00\x00\x00\x02\x00\x00\x00\x01",
		"another version":     "PACK\x00\x00\x00\x09\x00\x00\x00\x01\x30x\x9c\x03\x00\x00\x00\x00\x01",
		"more than it has":    "PACK\x00\x00\x00\x02\x00\x00\x00\x05\x30x\x9c\x03\x00\x00\x00\x00\x01",
		"wrong checksum":      "PACK\x00\x00\x00\x02\x00\x00\x00\x01\x30x\x9c\x03\x00\x00\x00\x00\x01" + strings.Repeat("x", 20),
		"delta of nothing":    "PACK\x00\x00\x00\x02\x00\x00\x00\x01\x73" + strings.Repeat("x", 20) + "x\x9c\x63\x60\x60\x00\x00\x00\x03\x00\x01" + strings.Repeat("x", 20),
		"huge declared size":  "PACK\x00\x00\x00\x02\x00\x00\x00\x01\xbf\xff\xff\xff\xff\xff\xff\x7fx\x9c\x03\x00\x00\x00\x00\x01",
		"negative size":       "PACK\x00\x00\x00\x02\x00\x00\x00\x01\xbf\xff\xff\xff\xff\xff\xff\xff\xffx\x9c\x03\x00\x00\x00\x00\x01",
		"larger than it says": "PACK\x00\x00\x00\x02\x00\x00\x00\x01\x30x\x9c\x4b\x04\x00\x00\x62\x00\x62" + strings.Repeat("x", 20),
	} {
		t.Run(name, func(t *testing.T) {
			packs := t.TempDir()
			file, err := os.CreateTemp(packs, incomingPattern)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := file.WriteString(pack); err != nil {
				t.Fatal(err)
			}
			err = storePack(t.Context(), file, packs, DefaultConfig().Limits)
			if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v", err)
			}
			if found, err := filepath.Glob(filepath.Join(packs, "pack-*")); err != nil || len(found) > 0 {
				t.Errorf("kept %v %v", found, err)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	for _, stream := range []string{"PACK\x00\x00\x00\x02\x00\x00\x00\x01", "PACK\x00\x00\x00\x02\x00\x00\x00\x01data"} {
		err := download(full, strings.NewReader(stream), DefaultConfig().Limits)
		if !mine(err) || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("error %v: the server is not to blame", err)
		}
	}
}

func TestIndexingIsCancelled(t *testing.T) {
	p := newPeer(t)
	p.push("one")
	p.run("repack", "-q", "-a", "-d")
	file, err := os.Open(packFiles(t, p.bare, ".pack")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := storePack(ctx, file, t.TempDir(), DefaultConfig().Limits); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, _, err := indexPack(ctx, file, 100); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

func TestCredentialsAndRedirects(t *testing.T) {
	var seen []string
	mux := http.NewServeMux()
	mux.Handle("/old/", http.RedirectHandler("/new.git/info/refs?service=git-upload-pack", http.StatusMovedPermanently))
	mux.HandleFunc("/new.git/", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		seen = append(seen, r.Method+" "+r.URL.Path+" "+user+":"+password)
		if r.Method == http.MethodPost {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		fmt.Fprint(w, line("# service=git-upload-pack\n")+"0000"+
			line("0100000000000000000000000000000000000000 refs/heads/main\x00side-band-64k\n")+"0000")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for token, want := range map[string]string{"t0ken": "x-access-token:t0ken", "bob:t0:ken\n": "bob:t0:ken", "": ":"} {
		seen = nil
		c := testConfig(t, server.URL+"/old/")
		c.Repository.Credentials.Token = []byte(token)
		_, err := openTestMirror(t, c).Fetch(t.Context())
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "500") {
			t.Errorf("error %v", err)
		}
		if got := strings.Join(seen, ", "); got != "GET /new.git/info/refs "+want+", POST /new.git/git-upload-pack "+want {
			t.Errorf("token %q: requests %s", token, got)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for hop, want := range map[string]bool{
		"https://a.example.com/x https://a.example.com/y":      true,
		"https://a.example.com/x https://a.example.com:8443/y": true,
		"http://a.example.com/x https://a.example.com/x":       true,
		"https://a.example.com/x http://a.example.com/x":       false,
		"https://a.example.com/x https://b.example.com/x":      false,
		"https://a.example.com/x https://x.a.example.com/x":    false,
	} {
		from, to, _ := strings.Cut(hop, " ")
		first, next := httptest.NewRequest(http.MethodGet, from, nil), httptest.NewRequest(http.MethodGet, to, nil)
		if err := checkRedirect(next, []*http.Request{first}); (err == nil) != want {
			t.Errorf("%s: %v", hop, err)
		}
		if want && checkRedirect(next, []*http.Request{first, first, first, first, first}) == nil {
			t.Errorf("%s: followed without end", hop)
		}
	}
}
