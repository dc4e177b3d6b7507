package desired

import (
	"errors"
	"strings"
	"testing"
)

// FuzzParseCluster reads any bytes as cluster.yaml: they are problems with a
// line each, or settings that hold what the rest relies on.
func FuzzParseCluster(f *testing.F) {
	for _, test := range clusterTests {
		f.Add(test.text)
	}
	for _, test := range notificationTests {
		f.Add(test.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cluster, err := ParseCluster([]byte(text))
		if (cluster == nil) != (err != nil) {
			t.Fatalf("%v beside %v", cluster, err)
		}
		if err != nil {
			if !errors.As(err, new(Problems)) || strings.ContainsRune(strings.ReplaceAll(err.Error(), "\n", ""), 0x1b) {
				t.Fatalf("error %q", err)
			}
			return
		}
		n := cluster.Notifications
		if n == nil {
			return
		}
		secret := func(text string) {
			if !IsEncrypted(text) && !secretName.MatchString(text) {
				t.Errorf("secret %q", text)
			}
		}
		if s := n.Statuses; s != nil {
			if s.Forge == "" || s.Repository == "" || CheckEndpoint(s.API, s.Insecure) != nil || s.Link != "" && CheckEndpoint(s.Link, true) != nil {
				t.Errorf("statuses %+v", s)
			}
			secret(s.Token)
		}
		for _, c := range n.Channels {
			if (c.URL == "") == (c.URLSecret == "") || c.URL != "" && CheckEndpoint(c.URL, c.Insecure) != nil || c.Type == "" || len(c.Events) == 0 {
				t.Errorf("channel %+v", c)
			}
			if c.URLSecret != "" {
				secret(c.URLSecret)
			}
			if (c.Secret == "") != (c.Type == SlackChannel) {
				t.Errorf("channel %+v", c)
			} else if c.Secret != "" {
				secret(c.Secret)
			}
		}
	})
}
