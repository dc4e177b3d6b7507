package rig

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Exec runs a program inside a container, as "docker exec" does, and returns its
// standard output, trimmed. A status other than 0 is a *CommandError.
func (d *Docker) Exec(ctx context.Context, container string, command ...string) (string, error) {
	var made struct{ ID string }
	in := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": command}
	if err := d.Do(ctx, http.MethodPost, "/containers/"+url.PathEscape(container)+"/exec", in, &made); err != nil {
		return "", err
	}
	data, err := d.send(ctx, http.MethodPost, "/exec/"+made.ID+"/start", "application/json", strings.NewReader(`{"Detach":false,"Tty":false}`))
	if err != nil {
		return "", fmt.Errorf("run %s in %.12s: %w", strings.Join(command, " "), container, err)
	}
	stdout, stderr := demultiplex(data)
	var ended struct{ ExitCode int }
	if err := d.Do(ctx, http.MethodGet, "/exec/"+made.ID+"/json", nil, &ended); err != nil {
		return stdout, err
	}
	if ended.ExitCode != 0 {
		return stdout, &CommandError{Args: command, Code: ended.ExitCode, Stderr: stderr, Err: fmt.Errorf("exit status %d", ended.ExitCode)}
	}
	return stdout, nil
}

// frameHeader is what the engine puts before each piece of output: the stream's
// number, three zero bytes, and the length (API 1.41, "Stream format").
const frameHeader = 8

// demultiplex takes apart what a program wrote to its two streams.
func demultiplex(data []byte) (stdout, stderr string) {
	var streams [3]strings.Builder
	for len(data) >= frameHeader {
		stream, size := data[0], int(binary.BigEndian.Uint32(data[4:frameHeader]))
		data = data[frameHeader:]
		size = min(size, len(data))
		if int(stream) < len(streams) {
			streams[stream].Write(data[:size])
		}
		data = data[size:]
	}
	return strings.TrimSpace(streams[1].String()), strings.TrimSpace(streams[2].String())
}

// SharedFiles are a program of this machine and the libraries that it loads, as
// Image.Copies takes them: for an image that has the machine's own C library.
func SharedFiles(ctx context.Context, programs ...string) (map[string]string, error) {
	files := map[string]string{}
	for _, program := range programs {
		files[program] = program
		out, err := output(NetNS("").Command(ctx, "ldd", program))
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", program, err)
		}
		// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", and the loader
		// without an arrow.
		for line := range strings.Lines(out) {
			for field := range strings.FieldsSeq(line) {
				if strings.HasPrefix(field, "/") {
					files[field] = field
				}
			}
		}
	}
	return files, nil
}
