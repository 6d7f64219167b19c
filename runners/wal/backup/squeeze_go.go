//go:build !cgo

package backup

var squeeze squeezer = squeezeGo
