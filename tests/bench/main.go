// Command bench runs the benchmarks behind the budgets of
// docs/architecture.md and prints one line a figure: ours, what it is held
// against, their ratio, and the ratio that is wanted. Both sides of a ratio are
// measured in the same run, as absolute figures of a shared machine mean
// little. It ends with status 1 when a budget is missed.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jaco-sh/jaco/tests/rig"
)

// figure is one budget.
type figure struct {
	name      string
	directory string // of the package whose benchmarks are run
	ours      string // benchmark, without its prefix
	reference string // benchmark; "" for a fixed budget, or against
	against   string // metric of ours itself, which measured both sides in turns
	budget    float64
	unit      string // the metric that is compared
	scale     float64
	want      float64 // ours/reference at most
	suite     bool    // needs a rig
	times     int     // a run measures so often; 0: for a second
}

var figures = []figure{
	{name: "verify-commit", directory: "signing", ours: "VerifyRange", reference: "GitLog", unit: "ms/commit", scale: 1, want: 0.1},
	{name: "audit-verify", directory: "cluster", ours: "AuditVerify", budget: 5000, unit: "ns/op", scale: 1e-6, want: 1},
	{name: "compute-full", directory: "scheduler", ours: "ComputeFull", budget: 250, unit: "ns/op", scale: 1e-6, want: 1},
	{name: "compute-one", directory: "scheduler", ours: "ComputeOne", budget: 10, unit: "ns/op", scale: 1e-6, want: 1},
	// 0.8 times the queries a second is 1.25 times the time of one.
	{name: "dns-qps", directory: "mesh/dns", ours: "Parallel", unit: "ns/query", against: "ns/query-bare", scale: 1e-6, want: 1.25},
	{name: "dns-qps-serial", directory: "mesh/dns", ours: "Serial", unit: "ns/query", against: "ns/query-bare", scale: 1e-6, want: 1.25},
	{name: "firewall-replace", directory: "mesh/firewall", ours: "Replace", budget: 100, unit: "ns/op", scale: 1e-6, want: 1},
	{name: "firewall-flat", directory: "mesh/firewall", ours: "Flat", unit: "ns/packet", against: "ns/packet-few", scale: 1, want: 1.15},
	{name: "push-vs-floor", directory: "tests/bench/push", ours: "Push", reference: "Engine", unit: "ms/deploy", scale: 1, want: 1.3, suite: true},
	{name: "push-vs-floor-3", directory: "tests/bench/versus", ours: "Push", reference: "Engines", unit: "ms/op", scale: 1, want: 1.3, suite: true, times: 1},
	{name: "push-vs-swarm", directory: "tests/bench/versus", ours: "Push", reference: "SwarmDeploy", unit: "ms/op", scale: 1, want: 0.8, suite: true, times: 1},
	{name: "update-vs-swarm", directory: "tests/bench/versus", ours: "Update", reference: "SwarmUpdate", unit: "ms/op", scale: 1, want: 0.7, suite: true, times: 1},
	{name: "node-loss-vs-swarm", directory: "tests/bench/versus", ours: "NodeLoss", reference: "SwarmNodeLoss", unit: "ms/op", scale: 1, want: 0.5, suite: true, times: 1},
	{name: "idle-cpu", directory: "tests/idle-cluster", ours: "Idle", budget: 1, unit: "%core", scale: 1, want: 1, suite: true, times: 1},
	{name: "leader-failover", directory: "cluster/consensus", ours: "Failover", budget: 1200, unit: "ms-p50", scale: 1, want: 1, times: 10},
}

// runs is how often each benchmark runs; the median counts.
const runs = 3

func main() {
	pattern := flag.String("run", ".", "only the figures whose name matches this regular expression")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *pattern, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string, out io.Writer) error {
	selected, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var errs []error
	count := 0
	for _, f := range figures {
		if !selected.MatchString(f.name) {
			continue
		}
		count++
		if err := f.measure(ctx, out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	if count == 0 {
		return fmt.Errorf("no figure matches %q", pattern)
	}
	return errors.Join(errs...)
}

// measure runs both sides and prints the figure.
func (f figure) measure(ctx context.Context, out io.Writer) error {
	names := f.ours
	if f.reference != "" {
		names += "|" + f.reference
	}
	arguments := []string{"-run", "^$", "-bench", "^Benchmark(" + names + ")$", "-count", strconv.Itoa(runs), "-timeout", "30m"}
	if f.times > 0 {
		arguments = append(arguments, "-benchtime", fmt.Sprintf("%dx", f.times))
	}
	command := exec.CommandContext(ctx, "go", append(append([]string{"test"}, arguments...), "./"+f.directory)...)
	if f.suite {
		bin, err := buildPrograms(ctx, strings.TrimPrefix(f.directory, "tests/"))
		if err != nil {
			return err
		}
		defer os.RemoveAll(bin)
		command.Env = append(os.Environ(), rig.BinEnv+"="+bin)
	}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, output.String())
	}
	ours, err := median(output.String(), f.ours, f.unit)
	if err != nil {
		return err
	}
	reference := f.budget
	if f.reference != "" || f.against != "" {
		if reference, err = median(output.String(), cmp.Or(f.reference, f.ours), cmp.Or(f.against, f.unit)); err != nil {
			return err
		}
		reference *= f.scale
	}
	ours *= f.scale
	ratio := ours / reference
	fmt.Fprintf(out, "figure %s ours=%.4g reference=%.4g ratio=%.3f unit=%s want=<=%g\n", f.name, ours, reference, ratio, f.printedUnit(), f.want)
	if ratio > f.want {
		return fmt.Errorf("missed: the ratio is %.3f, wanted at most %g", ratio, f.want)
	}
	return nil
}

// buildPrograms builds what a benchmark on a rig runs.
func buildPrograms(ctx context.Context, suite string) (string, error) {
	bin, err := os.MkdirTemp("", "jaco-bench-")
	if err != nil {
		return "", fmt.Errorf("make directory for programs: %w", err)
	}
	if err := rig.BuildPrograms(ctx, bin, suite); err != nil {
		return "", errors.Join(err, os.RemoveAll(bin))
	}
	return bin, nil
}

func (f figure) printedUnit() string {
	if per, ok := strings.CutPrefix(f.unit, "ns/"); ok {
		return "ms/" + per
	}
	return f.unit
}

// median reads the metric of a benchmark from the output of go test.
func median(output, name, unit string) (float64, error) {
	var values []float64
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.SplitN(fields[0], "-", 2)[0] != "Benchmark"+name {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] != unit {
				continue
			}
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return 0, fmt.Errorf("read %q: %w", line, err)
			}
			values = append(values, value)
		}
	}
	if len(values) == 0 {
		return 0, fmt.Errorf("benchmark %s gave no %s:\n%s", name, unit, output)
	}
	slices.Sort(values)
	return values[len(values)/2], nil
}
