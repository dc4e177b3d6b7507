package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// PlanFile is one file of a working tree.
type PlanFile struct {
	Path string // from the top of the tree, with slashes
	Mode string // "file", "executable" or "symlink"
	Data []byte
}

// The bounds of one Plan: bytes of a message, which must pass where strangers
// read, and files and bytes of all of them. A tree that is planned is smaller.
const (
	planChunk    = 8 << 10
	maxPlanFiles = 20_000
	maxPlanBytes = 32 << 20
	maxPlanPath  = 4 << 10
)

// errPlanTooLarge is what a server answers that was sent more than it takes.
var errPlanTooLarge = fmt.Errorf("the working tree is too large: at most %d files and %d bytes", maxPlanFiles, maxPlanBytes)

// Plan implements the service.
func (s *Server) Plan(stream grpc.ClientStreamingServer[jacov1.PlanRequest, jacov1.PlanResponse]) error {
	member, err := s.attached()
	if err != nil {
		return err
	}
	files, err := receiveFiles(stream.Recv)
	if err != nil {
		return toStatus(err)
	}
	data, err := member.Plan(stream.Context(), files)
	if err != nil {
		return toStatus(err)
	}
	return stream.SendAndClose(&jacov1.PlanResponse{PlanJson: data})
}

// receiveFiles puts the parts of files together.
func receiveFiles(next func() (*jacov1.PlanRequest, error)) ([]PlanFile, error) {
	var files []PlanFile
	size := 0
	for {
		part, err := next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		size += len(part.GetChunk())
		switch {
		case len(part.GetPath()) > maxPlanPath:
			return nil, fmt.Errorf("a path of more than %d bytes", maxPlanPath)
		case part.GetPath() != "":
			files = append(files, PlanFile{Path: part.GetPath(), Mode: part.GetMode()})
		case len(files) == 0:
			return nil, errors.New("the first part names no file")
		}
		if len(files) > maxPlanFiles || size > maxPlanBytes {
			return nil, errPlanTooLarge
		}
		last := &files[len(files)-1]
		last.Data = append(last.Data, part.GetChunk()...)
	}
}

// Plan implements the service.
func (r readControl) Plan(stream grpc.ClientStreamingServer[jacov1.PlanRequest, jacov1.PlanResponse]) error {
	return r.server.Plan(stream)
}

// Plan asks what the cluster would do with files, and returns the answer's JSON
// (scheduler/preview.Plan).
func (c *Client) Plan(ctx context.Context, files []PlanFile) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.api.Plan(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	for _, f := range files {
		if err := sendFile(stream.Send, f); err != nil {
			break // CloseAndRecv says why the server stopped listening
		}
	}
	out, err := stream.CloseAndRecv()
	if err != nil {
		return nil, c.explain(err)
	}
	return out.GetPlanJson(), nil
}

// sendFile sends a file in parts; the first one names it.
func sendFile(send func(*jacov1.PlanRequest) error, f PlanFile) error {
	part := &jacov1.PlanRequest{Path: f.Path, Mode: f.Mode}
	for data := f.Data; ; {
		part.Chunk = data[:min(planChunk, len(data))]
		data = data[len(part.GetChunk()):]
		if err := send(part); err != nil {
			return err
		}
		if len(data) == 0 {
			return nil
		}
		part = &jacov1.PlanRequest{}
	}
}
