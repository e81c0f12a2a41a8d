// Command chancery is the one binary of Chancery: the server and the command line.
//
// main.go, app.go and session.go are the frame: arguments in any order, global
// flags, contexts, output, exit codes. Then there is one file per noun. Commands
// of a running node (dev, init, server, join, keystore) are added by
// server_commands.go and are left out of a build for Windows or with the tag
// clientonly.
//
// Threat model. What a node answers is shown on a terminal, so control characters
// are taken out. Secrets go to stdout or to a file of mode 0600 when that is what
// the command is for, and nowhere else; never into messages or arguments.
package main

import "os"

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
