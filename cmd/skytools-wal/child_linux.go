package main

import "syscall"

// attributes let "skytools wal" end when we are killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
