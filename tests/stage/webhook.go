package stage

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

// Deliver posts a push notification to a node as a git host does, after a forged
// one that must be refused. The transport is HTTP.
func (c *Cluster) Deliver(to Member) {
	c.T.Helper()
	// Every push has a body of its own: one that was taken before wakes nobody.
	body := fmt.Appendf(nil, `{"ref":"refs/heads/main","pushed_at":%d}`, time.Now().UnixNano())
	mac := hmac.New(sha256.New, []byte(WebhookSecret))
	mac.Write(body)
	post := func(signature string, want int) {
		request := rig.Must[*http.Request](c.T)(http.NewRequestWithContext(
			c.T.Context(), http.MethodPost, "http://"+to.WebhookAddress()+"/webhook", bytes.NewReader(body)))
		request.Header.Set("X-Hub-Signature-256", "sha256="+signature)
		response, err := c.Rig.LAN.NetNS.HTTPClient().Do(request)
		c.Check(err)
		c.Check(response.Body.Close())
		if response.StatusCode != want {
			c.T.Fatal(to.Name() + " answered a delivery with " + response.Status)
		}
	}
	post(strings.Repeat("0", 2*sha256.Size), http.StatusUnauthorized)
	post(hex.EncodeToString(mac.Sum(nil)), http.StatusAccepted)
}
