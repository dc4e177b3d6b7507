// Idle is the only program of the test image: it does nothing until it is told to
// stop. Traffic is made in its network by the tests.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}
