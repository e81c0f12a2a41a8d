//go:build linux && cgo

// Bench measures the server against yardsticks made of the parts it is built from,
// and prints a table of ratios with the bound each should keep. It asserts nothing:
// a busy machine may miss any bound.
//
// Servers and yardsticks are child processes, this program again under another
// first argument, so that the CPU of the callers is counted to nobody. The two sides of a
// ratio are measured in short rounds that alternate, and the medians are compared.
//
// Everything happens on the loopback interface and in one temporary directory.
//
//	go run ./integration/bench [-only gate,driver,sign,read,write,strict,fence,emergency,pkistate,fail] [-rounds 9] [-each 500ms]
package main
