package signing

import (
	"bytes"
	"encoding/base64"
)

// maxSignatureSize is the size in bytes of the largest armored signature that
// is looked at; an RSA-8192 signature takes less than 4 KiB.
const maxSignatureSize = 16 << 10

// armorForm is the one canonical spelling of an armored signature.
type armorForm struct {
	begin, end string // first and last line, with their newline
	columns    int    // length of every base64 line but the last
	blankLine  bool   // a blank line stands behind the first line
	checksum   bool   // a CRC-24 line stands before the last line
	rule       string // the form in words
}

// sshArmor is how ssh-keygen spells a signature.
func sshArmor() armorForm {
	return armorForm{
		begin: sshBegin, end: sshEnd, columns: 70,
		rule: "lines of 70 characters and nothing else, as ssh-keygen writes",
	}
}

// pgpArmor is how GnuPG spells a signature, without --comment and
// --emit-version.
func pgpArmor() armorForm {
	return armorForm{
		begin: pgpBegin, end: pgpEnd, columns: 64, blankLine: true, checksum: true,
		rule: "a blank line, lines of 64 characters and their right checksum, as gpg writes",
	}
}

// decode returns the bytes in the armor. It collects the base64 lines and then
// compares the input with the one spelling of what they hold: whatever else a
// lenient reader would skip is refused by that.
func (f armorForm) decode(armored []byte) ([]byte, error) {
	if len(armored) > maxSignatureSize {
		return nil, badSignature("%d bytes of armor: more than %d", len(armored), maxSignatureSize)
	}
	body, ok := bytes.CutPrefix(armored, []byte(f.begin))
	if !ok {
		return nil, badSignature("armor does not start with its first line")
	}
	body, ok = bytes.CutSuffix(body, []byte(f.end))
	if !ok {
		return nil, badSignature("armor does not end with its last line: trailing data, or a second signature")
	}
	if bytes.Contains(body, []byte("-----")) {
		return nil, badSignature("more than one armored block")
	}
	if bytes.Contains(body, []byte(":")) {
		return nil, badSignature("armor with headers, such as Version or Comment, is not canonical")
	}
	if f.checksum {
		// The checksum is the last line, "=" and four characters.
		last := bytes.LastIndexByte(bytes.TrimSuffix(body, []byte("\n")), '\n')
		if last < 0 || body[last+1] != '=' {
			return nil, badSignature("armor without its checksum line is not canonical")
		}
		body = body[:last+1]
	}
	data, err := base64.StdEncoding.Strict().DecodeString(string(body))
	if err != nil {
		return nil, badSignature("armor: %v", err)
	}
	if !bytes.Equal(f.encode(data), armored) {
		return nil, badSignature("armor is not canonical: want %s", f.rule)
	}
	return data, nil
}

// encode spells data in the canonical form.
func (f armorForm) encode(data []byte) []byte {
	text := base64.StdEncoding.EncodeToString(data)
	out := make([]byte, 0, len(f.begin)+len(text)+len(text)/f.columns+len(f.end)+8)
	out = append(out, f.begin...)
	if f.blankLine {
		out = append(out, '\n')
	}
	for len(text) > 0 {
		n := min(f.columns, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	if f.checksum {
		sum := crc24(data)
		out = append(out, '=')
		out = base64.StdEncoding.AppendEncode(out, []byte{byte(sum >> 16), byte(sum >> 8), byte(sum)})
		out = append(out, '\n')
	}
	return append(out, f.end...)
}

// crc24 is OpenPGP's armor checksum (RFC 9580, section 6.1.1).
func crc24(data []byte) uint32 {
	const start, polynomial = 0xb704ce, 0x1864cfb
	sum := uint32(start)
	for _, b := range data {
		sum ^= uint32(b) << 16
		for range 8 {
			sum <<= 1
			if sum&0x1000000 != 0 {
				sum ^= polynomial
			}
		}
	}
	return sum
}
