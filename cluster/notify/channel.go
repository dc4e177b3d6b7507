package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/desired"
)

// channelSender posts notifications to one channel.
type channelSender struct {
	channel desired.Channel
	client  *client
	now     func() time.Time
}

var _ sender = (*channelSender)(nil)

// send implements sender.
func (s *channelSender) send(ctx context.Context, m message) error {
	address, hide := s.channel.URL, ""
	if s.channel.URLSecret != "" {
		var err error
		if address, err = s.client.secret(ctx, s.channel.URLSecret); err != nil {
			return err
		}
		hide = address
	}
	c := call{address: address, insecure: s.channel.Insecure, header: http.Header{}, hide: []string{hide}}
	var err error
	if s.channel.Type == desired.SlackChannel {
		if c.body, err = encode(map[string]string{"text": slackText(m)}); err != nil {
			return err
		}
		return s.client.post(ctx, c)
	}
	secret, err := s.client.secret(ctx, s.channel.Secret)
	if err != nil {
		return err
	}
	if c.body, err = encode(newPayload(m)); err != nil {
		return err
	}
	if c.header, err = signedHeader(secret, m.id, s.now(), c.body); err != nil {
		return fmt.Errorf("%s: %w", secretLabel(s.channel.Secret), err)
	}
	c.hide = append(c.hide, secret)
	return s.client.post(ctx, c)
}

// payload is what a webhook is sent. Fields are added, never renamed.
type payload struct {
	Type      string      `json:"type"` // "jaco." and a kind
	Timestamp time.Time   `json:"timestamp"`
	Data      payloadData `json:"data"`
}

type payloadData struct {
	ClusterID  string `json:"cluster_id"`
	Cluster    string `json:"cluster"`
	Deployment string `json:"deployment,omitempty"`
	Node       string `json:"node,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Message    string `json:"message"`
	Command    string `json:"command,omitempty"`
}

func newPayload(m message) payload {
	n := m.notice
	return payload{"jaco." + string(n.Kind), m.at.UTC(), payloadData{
		ClusterID: m.info.id, Cluster: m.info.name, Deployment: n.Deployment, Node: n.Node, Revision: n.Revision, Message: n.Text, Command: n.Command,
	}}
}

// signedHeader signs a body as Standard Webhooks 1.0 says
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
// The secret is in base64, with or without whsec_ before it.
func signedHeader(secret, id string, at time.Time, body []byte) (http.Header, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	const least = 24
	if err != nil || len(key) < least {
		return nil, fmt.Errorf("want whsec_ and at least %d bytes in base64, such as of: echo whsec_$(openssl rand -base64 32)", least)
	}
	timestamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	header := http.Header{}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", timestamp)
	header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return header, nil
}

// maxSlackText is well below what Slack and those like it take.
const maxSlackText = 3000

// slackText is a notification as a line of chat, with the command below it.
func slackText(m message) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	text := fmt.Sprintf("*%s* [%s] %s", m.notice.Kind, escape(m.info.name), escape(cut(m.notice.Text, maxSlackText/2)))
	if command := cut(strings.ReplaceAll(m.notice.Command, "```", ""), maxSlackText/4); command != "" {
		text += "\n```" + escape(command) + "```"
	}
	return text
}
