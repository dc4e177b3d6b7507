package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// RequireEnv names the variable that, set to anything, makes a suite that cannot
// run fail instead of being skipped; CI=true does the same.
const RequireEnv = "JACO_REQUIRE_RIG"

// Required says whether what cannot run here must fail instead of being skipped.
func Required() bool { return os.Getenv(RequireEnv) != "" || os.Getenv("CI") == "true" }

// Missing says what this machine lacks for a rig, or nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed for namespaces and engines; run as root")
	}
	var missing []string
	for _, prog := range []string{"dockerd", "containerd", "runc", "ip", "nsenter", "iptables", "nft", "git"} {
		if _, err := exec.LookPath(prog); err != nil {
			missing = append(missing, prog)
		}
	}
	if missing != nil {
		return fmt.Errorf("programs not found: %s; install them with build/deps.sh test", strings.Join(missing, ", "))
	}
	_, err := cgroupRoot()
	return err
}

// Main runs a suite: TestMain calls it and nothing else. A suite runs only
// under the suite runner (make e2e SUITE=name), which sets JACO_BIN, so that
// "go test ./..." stays a matter of seconds. One that was asked for and cannot
// run says so loudly and fails where CI=true or JACO_REQUIRE_RIG is set.
func Main(m interface{ Run() int }, name string) {
	var why error
	if os.Getenv(BinEnv) == "" {
		why = fmt.Errorf("not asked for; run it with: make e2e SUITE=%s", name)
	} else {
		why = Missing()
	}
	if why == nil {
		os.Exit(m.Run())
	}
	fmt.Printf("suite %s SKIPPED: %v\n", name, why)
	asked := os.Getenv(BinEnv) != "" && os.Getenv("CI") == "true"
	if asked || os.Getenv(RequireEnv) != "" {
		os.Exit(1)
	}
	os.Exit(0)
}
