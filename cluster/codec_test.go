package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// allCommands returns one of each command.
func allCommands() []Command {
	return []Command{
		&InitCluster{}, &UpdateNode{}, &PutObjects{}, &AdvanceRevision{}, &RecordRefusal{},
		&SetSync{}, &ApplyPlan{}, &ReportReplicas{}, &RecordEvents{}, &PutSealed{},
		&PutToken{}, &AdmitNode{}, &RemoveNode{}, &ReportMesh{},
	}
}

func TestAllCommandsIsComplete(t *testing.T) {
	kinds := (&jacov1.Entry{}).ProtoReflect().Descriptor().Oneofs().ByName("command").Fields().Len()
	if got := len(allCommands()) + 1; got != kinds { // object_digests is never in the log
		t.Errorf("allCommands has %d kinds, the log format %d", got, kinds)
	}
}

// addresses compares addresses and prefixes as what they are.
var addresses = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

// filler sets every field that it reaches to a value of its own.
type filler struct {
	t    *testing.T
	next int
}

func (f *filler) fill(v reflect.Value) {
	f.next++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(start.Add(time.Duration(f.next) * 1_000_001)))
		return
	case Phase:
		v.Set(reflect.ValueOf(phases[1+f.next%(len(phases)-1)]))
		return
	case ExpectKind:
		v.Set(reflect.ValueOf(expectKinds[1+f.next%(len(expectKinds)-1)]))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(addressAt(10<<24 | uint32(f.next))))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(addressAt(10<<24|uint32(f.next)), 20+f.next%8)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(v.Index(0))
		f.fill(v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", f.next))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.next))
	case reflect.Uint8:
		v.SetUint(uint64(1 + f.next%4)) // also an object's type
	case reflect.Uint64, reflect.Uint16:
		v.SetUint(uint64(f.next))
	case reflect.Bool:
		v.SetBool(true)
	default:
		f.t.Fatalf("a field of type %s: teach the filler", v.Type())
	}
}

func TestEveryFieldSurvivesTheLog(t *testing.T) {
	for _, c := range allCommands() {
		t.Run(string(c.Kind()), func(t *testing.T) {
			(&filler{t: t}).fill(reflect.ValueOf(c).Elem())
			want := Entry{Time: start, Actor: Actor{Kind: ActorOperator, Name: "uid:0@node-1"}, Command: c}
			data, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, addresses); diff != "" {
				t.Errorf("a field was lost (-want +got):\n%s", diff)
			}
			again, err := Encode(got)
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != string(data) {
				t.Error("equal entries give different bytes")
			}
		})
	}
}

func TestZeroFieldsSurviveTheLog(t *testing.T) {
	for _, c := range allCommands() {
		data, err := Encode(Entry{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Entry{Command: c}, got, addresses); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.Kind(), diff)
		}
	}
}

// wire marshals a message; the result is what a peer might send.
func wire(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodeRefuses(t *testing.T) {
	plan := func(r *jacov1.Replica) *jacov1.Entry {
		return &jacov1.Entry{Command: &jacov1.Entry_ApplyPlan{ApplyPlan: &jacov1.ApplyPlan{Create: []*jacov1.Replica{r}}}}
	}
	unknownInside := &jacov1.Replica{Id: "a"}
	unknownInside.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	newKind := protowire.AppendBytes(protowire.AppendTag(nil, 77, protowire.BytesType), []byte("new"))
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"nothing", nil, ErrInvalid},
		{"no protobuf", []byte("\xff\xff\xff"), ErrInvalid},
		{"no command", wire(t, &jacov1.Entry{Actor: &jacov1.Actor{Name: "a"}}), ErrInvalid},
		{"command of a newer build", newKind, ErrUnknownCommand},
		{"newer field beside a known command", append(wire(t, plan(&jacov1.Replica{})), newKind...), ErrUnknownCommand},
		{"newer field deep inside", wire(t, plan(unknownInside)), ErrUnknownCommand},
		{"newer phase", wire(t, plan(&jacov1.Replica{Phase: 12})), ErrUnknownCommand},
		{"negative phase", wire(t, plan(&jacov1.Replica{Phase: -1})), ErrUnknownCommand},
		{"newer expectation", wire(t, &jacov1.Entry{Command: &jacov1.Entry_ApplyPlan{ApplyPlan: &jacov1.ApplyPlan{
			Expect: []*jacov1.Expectation{{Kind: 6}}}}}), ErrUnknownCommand},
		{"newer type of object", wire(t, &jacov1.Entry{Command: &jacov1.Entry_PutObjects{PutObjects: &jacov1.PutObjects{
			Objects: []*jacov1.StoredObject{{Type: 5}}}}}), ErrUnknownCommand},
		{"hash of 19 bytes", wire(t, plan(&jacov1.Replica{Revision: make([]byte, 19)})), ErrInvalid},
		{"digest of 33 bytes", wire(t, &jacov1.Entry{Command: &jacov1.Entry_UpdateNode{UpdateNode: &jacov1.UpdateNode{
			Node: &jacov1.Node{CertificateKey: make([]byte, 33)}}}}), ErrInvalid},
		{"prefix in another form", wire(t, &jacov1.Entry{Command: &jacov1.Entry_ApplyPlan{ApplyPlan: &jacov1.ApplyPlan{
			Blocks: []*jacov1.NodeBlock{{Prefix: "10.64.0.0/020"}}}}}), ErrInvalid},
		{"prefix that is none", wire(t, &jacov1.Entry{Command: &jacov1.Entry_ApplyPlan{ApplyPlan: &jacov1.ApplyPlan{
			Slices: []*jacov1.Slice{{Prefix: "10.64.0.16"}}}}}), ErrInvalid},
		{"port out of range", wire(t, &jacov1.Entry{Command: &jacov1.Entry_ReportMesh{ReportMesh: &jacov1.ReportMesh{
			Port: 1 << 16}}}), ErrInvalid},
		{"time out of range", wire(t, &jacov1.Entry{Time: &timestamppb.Timestamp{Seconds: 1 << 60},
			Command: &jacov1.Entry_SetSync{SetSync: &jacov1.SetSync{}}}), ErrInvalid},
		{"form of the audit log", wire(t, &jacov1.Entry{Command: &jacov1.Entry_ObjectDigests{
			ObjectDigests: &jacov1.ObjectDigests{}}}), ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Decode(test.data)
			if !errors.Is(err, test.want) {
				t.Errorf("got %+v, error %v, want %v", got, err, test.want)
			}
			if errors.Is(err, ErrUnknownCommand) != Stops(err) {
				t.Errorf("Stops(%v) = %v", err, Stops(err))
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string]Entry{
		"no command":          {Time: start},
		"foreign command":     {Command: foreignCommand{}},
		"unknown phase":       {Command: &ApplyPlan{Create: []Replica{{Phase: "Dancing"}}}},
		"unknown table":       {Command: &ApplyPlan{Expect: []Expectation{{Kind: "star"}}}},
		"no type of object":   {Command: &PutObjects{Objects: []StoredObject{{Object: anchorObject().Object}, {}}}},
		"key that is no text": {Command: &UpdateNode{Node: Node{Name: "\xff"}}},
		"year 10000":          {Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Command: &SetSync{}},
	}
	tests["no type of object"].Command.(*PutObjects).Objects[1].Type = 9
	for name, entry := range tests {
		t.Run(name, func(t *testing.T) {
			if data, err := Encode(entry); err == nil {
				t.Errorf("encoded to %d bytes", len(data))
			}
		})
	}
}

type foreignCommand struct{}

func (foreignCommand) Kind() CommandKind { return "foreign" }

func TestEncodeMakesTextValid(t *testing.T) {
	data, err := Encode(Entry{Command: &ReportReplicas{Node: "n", Reports: []ReplicaReport{{ID: "a", Reason: "log: \xff\xfe!"}}}})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := entry.Command.(*ReportReplicas).Reports[0].Reason; got != "log: \uFFFD!" {
		t.Errorf("reason %q", got)
	}
}

// FuzzDecode feeds hostile bytes to the decoder and to a state: neither may
// panic, and what decodes must survive encoding.
func FuzzDecode(f *testing.F) {
	for _, c := range allCommands() {
		empty, err := Encode(Entry{Command: c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(empty)
		(&filler{}).fill(reflect.ValueOf(c).Elem())
		full, err := Encode(Entry{Time: start, Actor: Actor{Kind: ActorNode, Name: "n"}, Command: c})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(full)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := initialized(t)
		before := r.state.Read().AuditHead().Number
		result := r.applyBytes(data)
		entry, err := Decode(data)
		if Stops(result.Err) != Stops(err) {
			t.Fatalf("Decode says %v, Apply %v", err, result.Err)
		}
		if after := r.state.Read().AuditHead().Number; (after == before) != Stops(err) {
			t.Fatalf("audit entries: %d before, %d after, error %v", before, after, result.Err)
		}
		for e, auditErr := range r.state.Read().AuditEntries(false) {
			if auditErr != nil {
				t.Fatal(auditErr)
			}
			if _, err := Describe(e); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			return
		}
		encoded, err := Encode(entry)
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		again, err := Decode(encoded)
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if diff := cmp.Diff(entry, again, addresses); diff != "" {
			t.Fatal(diff)
		}
	})
}
