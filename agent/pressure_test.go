package agent

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

func TestReadPressure(t *testing.T) {
	const (
		some = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1234567\n"
		full = "full avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"
	)
	for _, test := range []struct {
		name, text string
		want       float64
		err        string
	}{
		{name: "both lines", text: some + full, want: 12.5},
		{name: "full first", text: full + some, want: 12.5},
		{name: "cpu of an older kernel", text: some, want: 12.5},
		{name: "idle", text: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"},
		{name: "all of the time", text: "some avg10=100.00", want: 100},
		{name: "another order", text: "some total=1 avg10=3", want: 3},
		{name: "empty", err: `no avg10 of a line "some" in ""`},
		{name: "full alone", text: full, err: `no avg10 of a line "some"`},
		{name: "no average", text: "some avg60=1\n", err: `no avg10`},
		{name: "no number", text: "some avg10=much\n", err: `avg10 is "much", not a percentage`},
		{name: "negative", text: "some avg10=-1\n", err: "not a percentage"},
		{name: "above", text: "some avg10=101\n", err: "not a percentage"},
		{name: "not a number", text: "some avg10=NaN\n", err: "not a percentage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc := fstest.MapFS{"pressure/cpu": {Data: []byte(test.text)}, "pressure/memory": {Data: []byte("some avg10=7\n")}}
			cpu, memory, err := ReadPressure(proc)
			if memory == nil || *memory != 7 {
				t.Errorf("memory %v", memory)
			}
			if test.err != "" {
				if err == nil || cpu != nil || !strings.Contains(err.Error(), "pressure/cpu: ") || !strings.Contains(err.Error(), test.err) {
					t.Errorf("cpu %v, error %v, want %s", cpu, err, test.err)
				}
				return
			}
			if err != nil || cpu == nil || *cpu != test.want {
				t.Errorf("cpu %v, error %v, want %g", cpu, err, test.want)
			}
		})
	}
}

// TestPressureUnknown: a kernel that does not tell is no error; one that does
// not let itself be read is.
func TestPressureUnknown(t *testing.T) {
	for _, test := range []struct {
		name  string
		proc  fs.FS
		wrong bool
	}{
		{"absent", fstest.MapFS{}, false},
		{"switched off", failingFS{syscall.EOPNOTSUPP}, false},
		{"forbidden", failingFS{fs.ErrPermission}, true},
	} {
		cpu, memory, err := ReadPressure(test.proc)
		if cpu != nil || memory != nil || test.wrong != (err != nil) {
			t.Errorf("%s: %v, %v, %v", test.name, cpu, memory, err)
		}
	}
}

// failingFS opens nothing.
type failingFS struct{ err error }

func (f failingFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
}
