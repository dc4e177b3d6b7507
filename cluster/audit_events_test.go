package cluster

import (
	"fmt"
	"slices"
	"testing"
)

// TestEvents reads events back both ways, out of segments too.
func TestEvents(t *testing.T) {
	r := initialized(t)
	first := r.state.Read().AuditHead().Number
	const count = recentAudit + segmentEntries/2
	for n := range count {
		r.must(&RecordEvents{Events: []Event{
			{Type: EventConverged, Message: fmt.Sprint(n, "a")}, {Type: EventNotified, Message: fmt.Sprint(n, "b")},
		}})
	}
	r.apply(&RecordEvents{}) // refused: there is nothing in it
	r.must(&UpdateNode{Node: testNode("node-3")})

	read := func(after uint64, newestFirst bool) (messages []string, numbers []uint64) {
		for e, err := range r.state.Read().Events(after, newestFirst) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Index != e.Number || e.Time.IsZero() { // every entry of the rig leaves one
				t.Fatalf("event %+v", e)
			}
			messages, numbers = append(messages, e.Message), append(numbers, e.Number)
		}
		return messages, numbers
	}
	forward, numbers := read(0, false)
	if len(forward) != 2*count || forward[0] != "0a" || forward[1] != "0b" || numbers[0] != first+1 {
		t.Fatalf("%d events, the first %v", len(forward), forward[:min(2, len(forward))])
	}
	backward, _ := read(0, true)
	slices.Reverse(backward)
	if !slices.Equal(forward, backward) {
		t.Error("the way back is another one")
	}
	for _, after := range []uint64{first, first + 1, first + 7, first + count - 1, first + count, first + count + 5} {
		want := forward[min(2*int(after-first), len(forward)):]
		if got, _ := read(after, false); !slices.Equal(got, want) {
			t.Errorf("after %d: %d events, want %d", after, len(got), len(want))
		}
		got, _ := read(after, true)
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Errorf("after %d, newest first: %d events, want %d", after, len(got), len(want))
		}
	}
	for range r.state.Read().Events(0, true) {
		break // a walk that is left does no more
	}
}
