//go:build !cgo

package squeeze

var used = inGo
