// Command hog takes memory until the kernel ends it.
package main

import "fmt"

func main() {
	fmt.Println("hog eats")
	var held [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(len(held)) // untouched memory is not held
		}
		held = append(held, block)
	}
}
