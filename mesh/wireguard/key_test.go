package wireguard

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestNewKey(t *testing.T) {
	k, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if other := wgtypes.Key(k).PublicKey(); k.Public() != Key(other) {
		t.Errorf("public key %s, wgctrl says %s", k.Public().Base64(), other)
	}
	if k[0]&7 != 0 || k[31]&192 != 64 {
		t.Errorf("the bits of X25519 are not fixed: %x", k)
	}
	if _, err := NewKey(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key was made of too little")
	}
	if text := fmt.Sprintf("%v %s", k, k); strings.Contains(text, k.Base64()[9:]) {
		t.Errorf("printing gives the key away: %s", text)
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wireguard.key")
	// Many at once get one key.
	keys := make([]Key, 8)
	var tasks sync.WaitGroup
	for i := range keys {
		tasks.Go(func() {
			var err error
			if keys[i], err = LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	tasks.Wait()
	for _, k := range keys {
		if k != keys[0] || k == (Key{}) {
			t.Errorf("%s and %s", k, keys[0])
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		want string
	}{
		"readable by others": {keys[0].Base64(), 0o640, "has mode 0640"},
		"short":              {"AAAA", 0o600, "not 32 bytes"},
		"no base64":          {strings.Repeat("!", 44), 0o600, "not 32 bytes"},
		"empty":              {"", 0o600, "not 32 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wireguard.key")
			if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
				t.Fatal(err)
			}
			if k, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), c.want) || k != (Key{}) {
				t.Errorf("%s, %v", k, err)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != c.text {
				t.Errorf("the file was changed: %q, %v", data, err)
			}
		})
	}
	if _, err := LoadKey(filepath.Join(t.TempDir(), "absent", "key")); err == nil {
		t.Error("no error for a directory that is not there")
	}
}
