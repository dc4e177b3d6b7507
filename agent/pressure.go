package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// ReadPressure returns for how many percent of the last 10 s something on this
// host waited for CPU and for memory. proc is /proc (os.DirFS). A value that the
// kernel does not tell, because it is too old or was booted without, is nil.
func ReadPressure(proc fs.FS) (cpu, memory *float64, err error) {
	cpu, errCPU := readPressure(proc, "pressure/cpu")
	memory, errMemory := readPressure(proc, "pressure/memory")
	return cpu, memory, errors.Join(errCPU, errMemory)
}

func readPressure(proc fs.FS, name string) (*float64, error) {
	data, err := fs.ReadFile(proc, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EOPNOTSUPP): // the latter with psi=0
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read pressure: %w", err)
	}
	percent, err := parsePressure(string(data))
	if err != nil {
		return nil, fmt.Errorf("read pressure: %s: %w", name, err)
	}
	return &percent, nil
}

// parsePressure reads the 10 s average of the line "some", which counts the
// time in which at least one task waited.
func parsePressure(text string) (float64, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		for _, field := range fields[1:] {
			if value, found := strings.CutPrefix(field, "avg10="); found {
				percent, err := strconv.ParseFloat(value, 64)
				if err != nil || !(percent >= 0 && percent <= 100) {
					return 0, fmt.Errorf("avg10 is %q, not a percentage", value)
				}
				return percent, nil
			}
		}
	}
	return 0, fmt.Errorf("no avg10 of a line \"some\" in %q", clip(text, 200))
}
