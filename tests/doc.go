// Package tests holds the rules that the whole tree must follow, as tests; the
// suites on real engines are the packages below it.
package tests
