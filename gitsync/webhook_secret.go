package gitsync

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// The bounds of a webhook's secrets: one more than the two of a rotation for
// each of a few hooks, and what Standard Webhooks asks of a signing secret.
const (
	maxWebhookSecrets  = 8
	minSigningKeyBytes = 24
	maxSigningKeyBytes = 64
)

// signingPrefix begins a signing secret of Standard Webhooks.
const signingPrefix = "whsec_"

// ErrNoWebhookSecret is returned when a secret file holds none.
var ErrNoWebhookSecret = errors.New("the file is empty: write a secret into it, for example of openssl rand -hex 32")

// WebhookSecret is what a git host and this cluster share. One that begins with
// whsec_ verifies the signatures of Standard Webhooks alone: were it good for
// the other forms too, a delivery could be played again without its time.
type WebhookSecret struct {
	key      []byte
	standard bool
}

// ParseWebhookSecrets reads a secret file: one secret a line, two while one is
// replaced by the other. It keeps nothing of data. The error names the line and
// never the secret; it is ErrNoWebhookSecret for a file without any.
func ParseWebhookSecrets(data []byte) ([]WebhookSecret, error) {
	var secrets []WebhookSecret
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 { // anybody can compute the HMAC of no secret
			continue
		}
		secret, err := parseWebhookSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if len(secrets) == maxWebhookSecrets {
			return nil, fmt.Errorf("line %d: more than %d secrets; remove those that are no longer used", number, maxWebhookSecrets)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, ErrNoWebhookSecret
	}
	return secrets, nil
}

func parseWebhookSecret(text []byte) (WebhookSecret, error) {
	encoded, standard := bytes.CutPrefix(text, []byte(signingPrefix))
	if !standard {
		return WebhookSecret{key: bytes.Clone(text)}, nil
	}
	key, err := base64.StdEncoding.Strict().DecodeString(string(encoded))
	if err != nil { // whose text would tell of the secret
		return WebhookSecret{}, errors.New("a secret that begins with whsec_ continues in base64")
	}
	if len(key) < minSigningKeyBytes || len(key) > maxSigningKeyBytes {
		return WebhookSecret{}, fmt.Errorf("a signing secret of %d bytes: it has %d to %d, in base64 behind whsec_", len(key), minSigningKeyBytes, maxSigningKeyBytes)
	}
	return WebhookSecret{key: key, standard: true}, nil
}
