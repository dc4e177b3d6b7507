package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

func unitSecret(fill byte) []byte { return bytes.Repeat([]byte{fill}, UnitSecretBytes) }

func unitKey(t *testing.T, fill byte, unit string) *UnitKey {
	t.Helper()
	k, err := DeriveUnitKey(unitSecret(fill), unit)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func encryptTo(t *testing.T, recipient string, plaintext []byte) string {
	t.Helper()
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, r)
	if err == nil {
		_, err = w.Write(plaintext)
	}
	if err := errors.Join(err, w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestUnitKeyIsForever pins the derivation: what is encrypted today must open
// with every later build.
func TestUnitKeyIsForever(t *testing.T) {
	const want = "age1ck754h8pew59kttmsyugqdmaq6njt00nmj6pg677pvd6pqc3gc5qjy0r2w"
	if got := unitKey(t, 7, "shop").Recipient(); got != want {
		t.Errorf("recipient of shop: %s, want %s", got, want)
	}
}

func TestUnitKeys(t *testing.T) {
	shop := unitKey(t, 7, "shop")
	sealed := encryptTo(t, shop.Recipient(), []byte("swordfish"))
	got, err := shop.Open(sealed)
	if err != nil || string(got) != "swordfish" {
		t.Fatalf("%q, %v", got, err)
	}
	again, err := ParseUnitKey(shop.Secret())
	if err != nil || again.Recipient() != shop.Recipient() {
		t.Errorf("handed over: %v, %v", again, err)
	}
	for name, other := range map[string]*UnitKey{
		"another deployment's": unitKey(t, 7, "shop2"), "the cluster's": unitKey(t, 7, "cluster"), "another cluster's": unitKey(t, 8, "shop"),
	} {
		if _, err := other.Open(sealed); !errors.Is(err, ErrWrongRecipient) || !strings.Contains(err.Error(), other.Recipient()) {
			t.Errorf("%s identity: %v", name, err)
		}
	}
}

func TestUnitKeyRefuses(t *testing.T) {
	shop := unitKey(t, 7, "shop")
	sealed := encryptTo(t, shop.Recipient(), []byte("swordfish"))
	lines := strings.Split(sealed, "\n")
	for name, bad := range map[string]string{
		"nothing": "", "no armor": "swordfish", "cut": strings.Join(lines[:2], "\n"),
		"altered":   strings.Replace(sealed, lines[len(lines)-3], strings.Repeat("A", len(lines[len(lines)-3])), 1),
		"too large": encryptTo(t, shop.Recipient(), make([]byte, maxUnwrapped+1)),
		"enormous":  strings.Repeat("A", 1<<20),
	} {
		if _, err := shop.Open(bad); !errors.Is(err, ErrBadArmor) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DeriveUnitKey(unitSecret(1)[1:], "shop"); !errors.Is(err, ErrBadKey) {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := DeriveUnitKey(unitSecret(1), ""); !errors.Is(err, ErrBadKey) {
		t.Errorf("no name: %v", err)
	}
	secret := shop.Secret()
	if _, err := ParseUnitKey(secret[:len(secret)-1] + "!"); !errors.Is(err, ErrBadKey) || strings.Contains(err.Error(), secret[20:40]) {
		t.Errorf("a damaged identity: %v", err)
	}
	for _, printed := range []string{fmt.Sprint(shop), fmt.Sprintf("%+v %#v %s %q", shop, shop, shop, shop)} {
		if strings.Contains(printed, secretPrefix) {
			t.Errorf("it prints its secret: %s", printed)
		}
	}
}

// TestBech32 holds the encoding against age's own, both ways.
func TestBech32(t *testing.T) {
	for range 50 {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		text := id.String()
		digits := []byte(strings.ToLower(text[len(secretPrefix)+1 : len(text)-6]))
		var data []byte
		rest, bits := uint(0), 0
		for _, d := range digits {
			rest = rest<<5 | uint(strings.IndexByte(bech32Letters, d))
			if bits += 5; bits >= 8 {
				bits -= 8
				data = append(data, byte(rest>>bits))
			}
		}
		if got := bech32(secretPrefix, data); got != text {
			t.Fatalf("%s, want %s", got, text)
		}
	}
}
