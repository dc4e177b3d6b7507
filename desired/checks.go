package desired

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
)

// The bounds of quantities. They are far above what a machine has; what they
// keep out are values that overflow differently on different processors.
const (
	maxDuration = 366 * 24 * time.Hour
	maxBytes    = 1 << 50
	maxCPUs     = 100_000
)

// errValue is what a check answers; the caller prints place and value.
var errValue = errors.New("not a valid value")

func checkCommand(v any) error {
	var command types.ShellCommand
	if text, ok := v.(string); ok {
		return command.DecodeMapstructure(text)
	}
	return nil
}

func checkDuration(v any) error {
	var d types.Duration
	if err := d.DecodeMapstructure(v); err != nil {
		return err
	}
	if d < 0 || time.Duration(d) > maxDuration {
		return errValue
	}
	return nil
}

func checkBytes(v any) error {
	var b types.UnitBytes
	if err := b.DecodeMapstructure(v); err != nil {
		return err
	}
	if b < 0 || b > maxBytes {
		return errValue
	}
	return nil
}

func checkCPUs(v any) error {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return err
	}
	if math.IsNaN(f) || f < 0 || f > maxCPUs {
		return errValue
	}
	return nil
}

func checkPort(v any) error {
	_, err := types.ParsePortConfig(fmt.Sprint(v))
	return err
}

func checkVolume(v any) error {
	text, ok := v.(string)
	if !ok {
		return errValue
	}
	_, err := format.ParseVolume(text)
	return err
}

var portRange = regexp.MustCompile(`([0-9]{1,9})-([0-9]{1,9})`)

// countPorts adds what one entry of ports expands to, before it is expanded,
// and says whether all of them are still within MaxPorts.
func (c *checker) countPorts(v *value, name string) bool {
	if c.ports > MaxPorts {
		return false // reported already
	}
	width := 1
	for _, m := range portRange.FindAllStringSubmatch(v.text, -1) {
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		width = max(width, to-from+1)
	}
	c.ports += width
	if c.ports > MaxPorts {
		c.breakf(v, name, "more than the limit of %d published ports in a deployment, ranges expanded", MaxPorts)
		return false
	}
	return true
}
