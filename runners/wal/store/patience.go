package store

import (
	"context"
	"net"
	"time"
)

// patience is how long a server may stay silent while it is being read from or written
// to, and how long a connection may take. Totals are up to the caller's context.
const patience = 30 * time.Second

// dial connects, and sees to it that the connection breaks when nothing moves on it.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: patience, KeepAlive: 15 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return impatient{c, patience}, nil
}

// An impatient connection fails when one read or write takes too long.
type impatient struct {
	net.Conn
	within time.Duration
}

func (c impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.within)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c impatient) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.within)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
