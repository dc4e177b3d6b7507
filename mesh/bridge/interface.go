package bridge

import (
	"crypto/sha256"
	"encoding/hex"
)

// Interface is the name of the interface of an engine network: "jb" and 13
// characters of a hash of its name, which is as long as the kernel allows
// (IFNAMSIZ). 52 bits keep even thousands of networks apart.
func Interface(network string) string {
	sum := sha256.Sum256([]byte(network))
	return "jb" + hex.EncodeToString(sum[:])[:13]
}
