// Command helper is the only program in the test image. Its first argument says
// what it does.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	mode := "serve"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "serve": // until it is told to stop
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("serving", os.Getenv("GREETING"))
		fmt.Fprintln(os.Stderr, "stopped by", <-stop)
	case "exit": // with the given code, after some lines
		fmt.Println("about to leave")
		fmt.Fprintln(os.Stderr, "reason: asked to")
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "exists": // a healthcheck: the file is there
		if _, err := os.Stat(os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}
