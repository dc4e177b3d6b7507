package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestLoadConfig(t *testing.T) {
	for _, test := range []struct {
		name, file string
		check      func(Config) bool
		wantErr    string // part of the message; "" for none
	}{
		{"empty file means defaults", "", func(c Config) bool { return reflect.DeepEqual(c, DefaultConfig("host-1")) }, ""},
		{"values replace defaults", "name: n1\nlog: {format: json, level: debug}\n", func(c Config) bool {
			return c.Name == "n1" && c.Log == LogConfig{"json", "debug"} && c.DataDir == "/var/lib/jaco"
		}, ""},
		{"part of a section keeps the rest", "log: {level: warn}\n", func(c Config) bool {
			return c.Log == LogConfig{"auto", "warn"}
		}, ""},
		{"durations", "raft: {heartbeat: 200ms}\n", func(c Config) bool { return c.Raft.Heartbeat.Milliseconds() == 200 }, ""},
		{"unknown key is named with its line", "name: n1\ndatadir: /x\n", nil, "line 2: field datadir not found"},
		{"two documents", "name: n1\n---\nname: n2\n", nil, "more than one YAML document"},
		{"bad name", "name: Node_1\n", nil, "is not a node name"},
		{"relative directory", "data_dir: var\n", nil, "data_dir: \"var\" is not an absolute path"},
		{"metrics for the world", "http_listen: 0.0.0.0:7080\n", nil, "not a loopback address"},
		{"host name as address", "advertise_address: example.com\n", nil, "not an IP address"},
		{"webhook without secret", "webhook: {listen: ':9000'}\n", nil, "needs webhook.secret_file"},
		{"unknown log format", "log: {format: xml}\n", nil, "log.format"},
		{"unknown log level", "log: {level: loud}\n", nil, "log.level"},
		{"secret files", "secret_files: {forge-token: /etc/jaco/forge-token}\n", func(c Config) bool {
			return c.SecretFiles["forge-token"] == "/etc/jaco/forge-token"
		}, ""},
		{"relative secret file", "secret_files: {forge-token: forge-token}\n", nil, "secret_files.forge-token: \"forge-token\" is not an absolute path"},
		{"bad secret name", "secret_files: {Forge Token: /x}\n", nil, "secret_files: \"Forge Token\" is not the name of a secret"},
		{"not YAML", "name: [\n", nil, "jacod.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jacod.yaml")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			config, err := LoadConfig(path, "host-1", true)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !test.check(config) {
				t.Errorf("loaded %+v", config)
			}
		})
	}
}

func TestLoadConfigMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	config, err := LoadConfig(path, "host-1", false)
	if err != nil || !reflect.DeepEqual(config, DefaultConfig("host-1")) {
		t.Errorf("a missing file gave %+v, %v; want the defaults", config, err)
	}
	if _, err := LoadConfig(path, "host-1", true); err == nil {
		t.Error("a missing file that the operator named was accepted")
	}
}
