package identity

import "strings"

// bech32Letters are the digits of bech32 (BIP 173), which age writes its keys in.
const bech32Letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32 encodes data behind an upper-case prefix. age makes such texts of keys
// that it drew itself alone.
func bech32(prefix string, data []byte) string {
	prefix = strings.ToLower(prefix)
	digits := regroup(data)
	sum := bech32Checksum(prefix, digits)
	var b strings.Builder
	b.WriteString(prefix + "1")
	for _, d := range append(digits, sum[:]...) {
		b.WriteByte(bech32Letters[d])
	}
	return strings.ToUpper(b.String())
}

// regroup cuts bytes into groups of 5 bits, the last one filled up with zeros.
func regroup(data []byte) []byte {
	var out []byte
	var rest uint
	bits := 0
	for _, c := range data {
		rest = rest<<8 | uint(c)
		for bits += 8; bits >= 5; {
			bits -= 5
			out = append(out, byte(rest>>bits)&31)
		}
	}
	if bits > 0 {
		out = append(out, byte(rest<<(5-bits))&31)
	}
	return out
}

func bech32Checksum(prefix string, digits []byte) (sum [6]byte) {
	values := make([]byte, 0, 2*len(prefix)+1+len(digits)+len(sum))
	for _, c := range []byte(prefix) {
		values = append(values, c>>5)
	}
	values = append(values, 0)
	for _, c := range []byte(prefix) {
		values = append(values, c&31)
	}
	values = append(append(values, digits...), sum[:]...)
	generator := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	check := uint32(1)
	for _, v := range values {
		top := check >> 25
		check = (check&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range generator {
			if top>>i&1 == 1 {
				check ^= g
			}
		}
	}
	check ^= 1
	for i := range sum {
		sum[i] = byte(check>>(5*(5-i))) & 31
	}
	return sum
}
