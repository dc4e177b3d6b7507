package gitsync

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// bodySignatures are the headers that carry the HMAC-SHA256 of the body in
// hexadecimal digits, each behind its prefix:
//
//   - ours;
//   - GitHub: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
//   - Bitbucket: https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
//     (GitHub sends the same name with sha1=, which is not taken)
//   - Gitea: https://docs.gitea.com/usage/webhooks
//   - Forgejo: https://forgejo.org/docs/latest/user/webhooks/
var bodySignatures = []struct{ header, prefix string }{
	{"X-Jaco-Signature", "sha256="},
	{"X-Hub-Signature-256", "sha256="},
	{"X-Hub-Signature", "sha256="},
	{"X-Gitea-Signature", ""},
	{"X-Forgejo-Signature", ""},
}

// tokenHeader carries GitLab's classic token, the secret itself:
// https://docs.gitlab.com/user/project/integrations/webhooks/
const tokenHeader = "X-Gitlab-Token"

// The headers of Standard Webhooks, which GitLab's signing tokens use too:
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
const (
	idHeader        = "Webhook-Id"
	timestampHeader = "Webhook-Timestamp"
	signatureHeader = "Webhook-Signature"
)

const (
	maxWebhookID     = 256
	maxTimestampText = 12
)

// delivery is one request that is being authenticated. The body is written to
// it and only goes through hashes.
type delivery struct {
	body hash.Hash
	// given are the HMACs that the headers say, expected the same of the body
	// under each secret.
	given    [][]byte
	expected []hash.Hash
	token    string // "" when there is none
	secrets  []WebhookSecret
	signed   *signedHeaders // nil when there are none
	// signing are the HMACs that Standard Webhooks asks for.
	signing []hash.Hash
}

// signedHeaders are the headers of Standard Webhooks.
type signedHeaders struct {
	id         string
	at         time.Time
	prefix     string // of the signed content
	signatures [][]byte
}

func newDelivery(secrets []WebhookSecret, header http.Header) *delivery {
	d := &delivery{body: sha256.New(), given: bodySignaturesOf(header), token: header.Get(tokenHeader), secrets: secrets, signed: signedHeadersOf(header)}
	for _, secret := range secrets {
		switch {
		case secret.standard && d.signed != nil:
			mac := hmac.New(sha256.New, secret.key)
			mac.Write([]byte(d.signed.prefix))
			d.signing = append(d.signing, mac)
		case !secret.standard && len(d.given) > 0:
			d.expected = append(d.expected, hmac.New(sha256.New, secret.key))
		}
	}
	return d
}

// Write implements io.Writer: hashes take everything.
func (d *delivery) Write(p []byte) (int, error) {
	d.body.Write(p)
	for _, hashes := range [][]hash.Hash{d.expected, d.signing} {
		for _, h := range hashes {
			h.Write(p)
		}
	}
	return len(p), nil
}

// bodySignaturesOf returns what the headers say that the body's HMAC is.
func bodySignaturesOf(header http.Header) [][]byte {
	var given [][]byte
	for _, form := range bodySignatures {
		text, prefixed := strings.CutPrefix(header.Get(form.header), form.prefix)
		if signature, err := hex.DecodeString(text); prefixed && err == nil && len(signature) == sha256.Size {
			given = append(given, signature)
		}
	}
	return given
}

// signedHeadersOf reads the headers of Standard Webhooks; nil when they are not
// there, or not well-formed. The id holds no full stop: it separates what is
// signed, so that one that holds some could be read in two ways.
func signedHeadersOf(header http.Header) *signedHeaders {
	id, timestamp := header.Get(idHeader), header.Get(timestampHeader)
	if id == "" || len(id) > maxWebhookID || strings.Contains(id, ".") || len(timestamp) > maxTimestampText {
		return nil
	}
	seconds, err := strconv.ParseUint(timestamp, 10, 63) // which takes digits only
	if err != nil {
		return nil
	}
	s := &signedHeaders{id: id, at: time.Unix(int64(seconds), 0), prefix: id + "." + timestamp + "."}
	for text := range strings.FieldsSeq(header.Get(signatureHeader)) {
		encoded, current := strings.CutPrefix(text, "v1,")
		if signature, err := base64.StdEncoding.Strict().DecodeString(encoded); current && err == nil && len(signature) == sha256.Size {
			s.signatures = append(s.signatures, signature)
		}
	}
	if len(s.signatures) == 0 {
		return nil
	}
	return s
}

// authentic says under which identities the delivery is authentic, none when it
// is not; late says that a signature is right and its time is not. Every
// comparison takes the same time whatever is compared.
func (d *delivery) authentic(now time.Time) (found []replayKey, late bool) {
	byBody := anyEqual(d.given, d.expected)
	token := sha256.Sum256([]byte(d.token))
	for _, secret := range d.secrets {
		if !secret.standard && d.token != "" {
			key := sha256.Sum256(secret.key)
			byBody = subtle.ConstantTimeCompare(token[:], key[:]) == 1 || byBody
		}
	}
	if byBody {
		found = append(found, replayKey{kind: replayBody, sum: [sha256.Size]byte(d.body.Sum(nil))})
	}
	if d.signed != nil && anyEqual(d.signed.signatures, d.signing) {
		off := now.Sub(d.signed.at)
		if late = off > webhookSkew || off < -webhookSkew; !late {
			found = append(found, replayKey{kind: replayID, sum: sha256.Sum256([]byte(d.signed.id))})
		}
	}
	return found, late
}

// anyEqual compares each with each.
func anyEqual(given [][]byte, expected []hash.Hash) bool {
	found := false
	for _, h := range expected {
		sum := h.Sum(nil)
		for _, signature := range given {
			found = hmac.Equal(sum, signature) || found
		}
	}
	return found
}
