package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// TestPlanCarriesFiles sends files of every size over the socket, and wants each
// as it was.
func TestPlanCarriesFiles(t *testing.T) {
	c, _ := newMemberControl(t)
	large := bytes.Repeat([]byte("0123456789"), planChunk/3)
	files := []PlanFile{
		{Path: "trust.yaml", Mode: "file", Data: []byte("version: 1\n")},
		{Path: "deployments/shop/empty", Mode: "file"},
		{Path: "deployments/shop/large", Mode: "executable", Data: large},
		{Path: "deployments/shop/just", Mode: "file", Data: large[:planChunk]},
		{Path: "deployments/shop/link", Mode: "symlink", Data: []byte("empty")},
	}
	answer, err := c.Plan(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	var got []PlanFile
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files (-sent +received):\n%s", diff)
	}
	if answer, err := c.Plan(t.Context(), nil); err != nil || string(answer) != "null" {
		t.Errorf("no files: %q, %v", answer, err)
	}
}

// TestPlanIsBounded stops listening to whoever sends too much.
func TestPlanIsBounded(t *testing.T) {
	part := func(path string, chunk int) *jacov1.PlanRequest {
		return &jacov1.PlanRequest{Path: path, Chunk: make([]byte, chunk)}
	}
	for name, test := range map[string]struct {
		parts []*jacov1.PlanRequest
		want  string
	}{
		"too many files":     {slices.Repeat([]*jacov1.PlanRequest{part("a", 0)}, maxPlanFiles+1), "too large"},
		"too many bytes":     {append([]*jacov1.PlanRequest{part("a", 0)}, slices.Repeat([]*jacov1.PlanRequest{part("", 1<<20)}, 33)...), "too large"},
		"a path too long":    {[]*jacov1.PlanRequest{part(strings.Repeat("a", maxPlanPath+1), 0)}, "path of more than"},
		"a part of no file":  {[]*jacov1.PlanRequest{part("", 1)}, "names no file"},
		"a broken transport": {nil, "broken"},
	} {
		next := 0
		_, err := receiveFiles(func() (*jacov1.PlanRequest, error) {
			if next == len(test.parts) {
				return nil, errors.New("broken")
			}
			next++
			return test.parts[next-1], nil
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if files, err := receiveFiles(func() (*jacov1.PlanRequest, error) { return nil, io.EOF }); err != nil || files != nil {
		t.Errorf("nothing: %v, %v", files, err)
	}
}
