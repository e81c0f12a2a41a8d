//go:build !linux

package netlab

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

var errNotHere = errors.New("network namespaces are Linux's")

// Check says what is missing here.
func Check() error { return errNotHere }

func (h *Host) open() error { return errNotHere }

// Do is not possible here.
func (h *Host) Do(func() error) error { return errNotHere }

// Start is not possible here.
func (h *Host) Start(*exec.Cmd) error { return errNotHere }

// Run is not possible here.
func (h *Host) Run(*exec.Cmd) error { return errNotHere }

// Dial is not possible here.
func (h *Host) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNotHere }

// Listen is not possible here.
func (h *Host) Listen(string, string) (net.Listener, error) { return nil, errNotHere }
