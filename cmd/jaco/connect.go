package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// withClient runs fn with a connection to the local daemon, or with --server to
// a node from afar.
func withClient(global *globals, fn func(*rpc.Client) error) (err error) {
	client, err := global.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return fn(client)
}

// withLocal is withClient for what only the local daemon does.
func withLocal(global *globals, fn func(*rpc.Client) error) error {
	if global.server != "" {
		return usagef("this is for the local node alone, over its socket: leave --server, and run it on the node")
	}
	return withClient(global, fn)
}

func (g *globals) dial() (*rpc.Client, error) {
	if g.server == "" {
		if g.tokenFile != "" || g.caHash != "" {
			return nil, usagef("--token-file and --ca-hash go with --server")
		}
		return rpc.DialSocket(g.socket)
	}
	if g.tokenFile == "" {
		return nil, usagef("--server needs --token-file: `jaco bootstrap token --read` on a node makes a token to read with")
	}
	if err := rpc.CheckServer(g.server); err != nil {
		return nil, usagef("--server: %v", err)
	}
	want, err := parseHash(g.caHash)
	if err != nil {
		return nil, err
	}
	token, err := readToken(g.tokenFile, g.stdin(), cluster.TokenRead)
	if err != nil {
		return nil, err
	}
	if want != nil && *want != token.Authority {
		return nil, fmt.Errorf("--ca-hash: the token is of a cluster whose authority is sha256:%x: take a token of the cluster that you mean", token.Authority)
	}
	return rpc.DialServer(g.server, token, time.Now)
}

// parseHash reads 64 hexadecimal digits; nil for none.
func parseHash(text string) (*[32]byte, error) {
	if text == "" {
		return nil, nil
	}
	var hash [32]byte
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "sha256:"))
	if err != nil || copy(hash[:], raw) != len(hash) || len(raw) != len(hash) {
		return nil, usagef("--ca-hash: want the 64 hexadecimal digits that `jaco bootstrap token --read` printed")
	}
	return &hash, nil
}

// maxTokenFile bounds what is read of a token's file; a token has one line.
const maxTokenFile = 4 << 10

// readToken reads a token of the kind from a file, or a line of standard input
// for "-": what is pasted there ends with one.
func readToken(path string, stdin io.Reader, kind cluster.TokenKind) (rpc.Token, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = bufio.NewReader(io.LimitReader(stdin, maxTokenFile)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	} else {
		text, err = readLimited(path, maxTokenFile)
	}
	if err != nil {
		return rpc.Token{}, fmt.Errorf("--token-file: %w", err)
	}
	token, err := rpc.ParseToken(string(text))
	if err == nil {
		err = token.WantKind(kind)
	}
	if err != nil {
		return rpc.Token{}, fmt.Errorf("--token-file %s: %w", path, err)
	}
	return token, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}
