package cluster

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSmoke(t *testing.T) {
	r := initialized(t)
	r.must(&AdvanceRevision{Claim: Claim{Number: 1, From: anchorObject().ID, Commit: anchorObject().ID}})
	r.must(&ApplyPlan{
		Expect:   []Expectation{{Kind: ExpectNode, Key: "node-1", ModifyIndex: 1}, {Kind: ExpectService, Key: "shop/api"}},
		Services: []Service{{Deployment: "shop", Name: "api", NextSerial: 2}},
		Create:   []Replica{testReplica(1, 1)},
	})
	var out bytes.Buffer
	if err := r.state.Save(&out); err != nil {
		t.Fatal(err)
	}
	other := newRig(t)
	if err := other.state.Load(bytes.NewReader(out.Bytes())); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := other.state.Save(&again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Fatal("differ")
	}
	for e, err := range r.state.Read().Audit(AuditFilter{}) {
		t.Log(e, err)
	}
	_ = errors.New
	_ = strings.Join
	_ = context.Canceled
	_ = synctest.Wait
	_ = time.Now
	_ = cmp.Diff
}
