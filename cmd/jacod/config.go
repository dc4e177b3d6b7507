package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is /etc/jaco/jacod.yaml: what one machine needs to know before it can
// learn the rest from git. A missing file means the defaults.
type Config struct {
	// Name of the node, [a-z0-9][a-z0-9-]*. Default: the host name's first label.
	Name string `yaml:"name"`
	// DataDir holds the node's keys, log, trust store and mirror. Default /var/lib/jaco.
	DataDir string `yaml:"data_dir"`
	// Socket is the operator's unix socket. Default /run/jaco/jaco.sock.
	Socket string `yaml:"socket"`
	// Group owns the socket and the embedded repository. Default "jaco" where
	// that group exists, else root alone.
	Group string `yaml:"group"`
	// Listen is the control port. Default ":7000".
	Listen string `yaml:"listen"`
	// AdvertiseAddress is the IP address by which other nodes reach this one.
	// Default: the first private address found; never a public one.
	AdvertiseAddress string `yaml:"advertise_address"`
	// HTTPListen serves health, metrics and the webhook; loopback only. Default 127.0.0.1:7080.
	HTTPListen string `yaml:"http_listen"`
	// Engine is the Docker Engine's address. Default unix:///var/run/docker.sock.
	Engine  string        `yaml:"engine"`
	Webhook WebhookConfig `yaml:"webhook"`
	// SecretFiles names the files that hold the secrets of cluster.yaml's
	// notifications. Only a node that leads reads them. Default none.
	SecretFiles map[string]string `yaml:"secret_files"`
	Log         LogConfig         `yaml:"log"`
	Raft        RaftConfig        `yaml:"raft"`
}

// WebhookConfig is the receiver of push notifications.
type WebhookConfig struct {
	// Listen is an address beside http_listen on which the webhook alone is
	// served, for a git host that is not on this machine. Default none.
	Listen string `yaml:"listen"`
	// SecretFile holds the shared secret. Without one every delivery is refused.
	SecretFile string `yaml:"secret_file"`
}

// LogConfig is how the daemon logs, to standard error.
type LogConfig struct {
	Format string `yaml:"format"` // auto (default) | journal | json | text
	Level  string `yaml:"level"`  // debug | info (default) | warn | error
}

// RaftConfig are the consensus timers; shorter ones find a dead leader sooner
// and bear less load. Zero: the defaults of the consensus package.
type RaftConfig struct {
	Heartbeat time.Duration `yaml:"heartbeat"`
	Election  time.Duration `yaml:"election"`
	Lease     time.Duration `yaml:"lease"`
	Commit    time.Duration `yaml:"commit"`
}

// DefaultConfigFile is where the daemon looks without --config.
const DefaultConfigFile = "/etc/jaco/jacod.yaml"

// DefaultConfig returns the configuration of a missing file; the name is left
// to the caller, which knows the host's.
func DefaultConfig(hostname string) Config {
	return Config{
		Name:       hostname,
		DataDir:    "/var/lib/jaco",
		Socket:     "/run/jaco/jaco.sock",
		Group:      "jaco",
		Listen:     ":7000",
		HTTPListen: "127.0.0.1:7080",
		Engine:     "unix:///var/run/docker.sock",
		Log:        LogConfig{Format: "auto", Level: "info"},
	}
}

// LoadConfig reads the file over the defaults. A missing file is an error only
// when mustExist says so (the operator named it).
func LoadConfig(path, hostname string, mustExist bool) (Config, error) {
	config := DefaultConfig(hostname)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !mustExist:
		return config, config.Validate()
	case err != nil:
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: more than one YAML document", path)
	}
	if err := config.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

var nodeNamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate checks every value that can be judged without touching the system.
func (c Config) Validate() error {
	if !nodeNamePattern.MatchString(c.Name) {
		return fmt.Errorf("name: %q is not a node name (lower-case letters, digits and dashes, at most 63); set name", c.Name)
	}
	for key, path := range map[string]string{"data_dir": c.DataDir, "socket": c.Socket} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s: %q is not an absolute path", key, path)
		}
	}
	if c.AdvertiseAddress != "" && net.ParseIP(c.AdvertiseAddress) == nil {
		return fmt.Errorf("advertise_address: %q is not an IP address", c.AdvertiseAddress)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	host, _, err := net.SplitHostPort(c.HTTPListen)
	if err != nil {
		return fmt.Errorf("http_listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("http_listen: %q is not a loopback address; metrics and health are not for the network", c.HTTPListen)
	}
	if c.Webhook.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Webhook.Listen); err != nil {
			return fmt.Errorf("webhook.listen: %w", err)
		}
		if c.Webhook.SecretFile == "" {
			return errors.New("webhook.listen needs webhook.secret_file: a receiver without a secret refuses every delivery")
		}
	}
	for name, path := range c.SecretFiles {
		if !nodeNamePattern.MatchString(name) {
			return fmt.Errorf("secret_files: %q is not the name of a secret (lower-case letters, digits and dashes, at most 63)", name)
		}
		if !filepath.IsAbs(path) {
			return fmt.Errorf("secret_files.%s: %q is not an absolute path", name, path)
		}
	}
	return c.Log.validate()
}

func (c LogConfig) validate() error {
	switch c.Format {
	case "auto", "journal", "json", "text":
	default:
		return fmt.Errorf("log.format: %q is none of auto, journal, json, text", c.Format)
	}
	switch c.Level {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("log.level: %q is none of debug, info, warn, error", c.Level)
	}
	return nil
}
