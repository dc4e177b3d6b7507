package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/jaco-sh/jaco/cluster"
)

// maxSealed bounds a secret: sealed items travel in the raft log.
const maxSealed = 256 << 10

// sealPrefix starts what is encrypted, followed by the item's name and a line
// feed. It reaches disk: never change it.
const sealPrefix = "jaco sealed item 1 "

// The ways in which sealing and opening fail.
var (
	// ErrNotRecipient is returned when an item is not sealed to this node.
	ErrNotRecipient = errors.New("not sealed to this node")
	// ErrBadSeal is returned for an item that was damaged or swapped for
	// another, and for a recipient that is none.
	ErrBadSeal = errors.New("bad sealed item")
)

// Seal encrypts a secret of at most 256 KiB to the given nodes: their names
// with their age recipients. The item's name is encrypted with it, so that one
// item cannot be passed off as another.
func Seal(name string, plaintext []byte, recipients map[string]string) (cluster.SealedItem, error) {
	if name == "" || strings.ContainsAny(name, "\n\x00") {
		return cluster.SealedItem{}, fmt.Errorf("seal item %q: %w: bad name", name, ErrBadSeal)
	}
	if len(plaintext) > maxSealed {
		return cluster.SealedItem{}, fmt.Errorf("seal item %s: %w: larger than %d bytes", name, ErrBadSeal, maxSealed)
	}
	if len(recipients) == 0 {
		return cluster.SealedItem{}, fmt.Errorf("seal item %s: %w: no recipient", name, ErrBadSeal)
	}
	item := cluster.SealedItem{Name: name, Recipients: slices.Sorted(maps.Keys(recipients))}
	var to []age.Recipient
	for _, node := range item.Recipients {
		r, err := age.ParseX25519Recipient(recipients[node])
		if err != nil {
			return cluster.SealedItem{}, fmt.Errorf("seal item %s to node %s: %w: %w", name, node, ErrBadSeal, err)
		}
		to = append(to, r)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return cluster.SealedItem{}, fmt.Errorf("seal item %s: %w", name, err)
	}
	_, err = io.WriteString(w, sealPrefix+name+"\n")
	if err == nil {
		_, err = w.Write(plaintext)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return cluster.SealedItem{}, fmt.Errorf("seal item %s: %w", name, err)
	}
	item.Ciphertext = out.Bytes()
	return item, nil
}

// Open decrypts an item with the node's own seal key. Errors wrap
// ErrNotRecipient or ErrBadSeal and never hold plaintext.
func (i *Identity) Open(item cluster.SealedItem) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(item.Ciphertext), i.seal)
	var noMatch *age.NoIdentityMatchError
	if errors.As(err, &noMatch) {
		return nil, fmt.Errorf("open item %s on node %s: %w, but to %s: a node that can open it must seal it again",
			item.Name, i.node, ErrNotRecipient, strings.Join(item.Recipients, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("open item %s on node %s: %w: %w", item.Name, i.node, ErrBadSeal, err)
	}
	head := sealPrefix + item.Name + "\n"
	data, err := io.ReadAll(io.LimitReader(r, int64(len(head)+maxSealed+1)))
	if err != nil {
		return nil, fmt.Errorf("open item %s on node %s: %w: %w", item.Name, i.node, ErrBadSeal, err)
	}
	plaintext, ok := bytes.CutPrefix(data, []byte(head))
	if !ok || len(plaintext) > maxSealed {
		return nil, fmt.Errorf("open item %s on node %s: %w: it was sealed under another name", item.Name, i.node, ErrBadSeal)
	}
	return plaintext, nil
}

// parseSealKey never repeats what it read: the input is a secret.
func parseSealKey(data []byte) (*age.X25519Identity, error) {
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%w: not an age identity", ErrBadKey)
	}
	return id, nil
}
