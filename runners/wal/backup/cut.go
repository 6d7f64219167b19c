package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/skytools-go/skytools/sql/pg"
)

// A piece is one frame on its way: read in order, worked on by whoever is free, and
// taken in order again.
type piece struct {
	buffer     *[FrameSize]byte // from buffers
	plain      []byte           // its beginning
	frame      *Frame           // in the manifest
	parent     *Frame           // at the same place in the backup before, if there is one
	compressed []byte           // nil: known is where it is already
	room       *[]byte          // of compressed, from rooms
	known      *Frame
	resumed    bool  // known is of an unfinished backup
	failed     error // to compress
	done       chan struct{}
}

var (
	buffers = sync.Pool{New: func() any { return new([FrameSize]byte) }}
	rooms   = sync.Pool{New: func() any { b := make([]byte, 0, FrameSize/4); return &b }}
)

// A cutter takes the server's archives apart into files and these into pieces.
type cutter struct {
	backup *pg.BaseBackup
	parent map[string]*File
	send   func(context.Context, *piece) error

	files  []*File
	server []byte // its own manifest
}

// cut reads everything. Files are complete when all pieces have been taken.
func (c *cutter) cut(ctx context.Context) error {
	for {
		part, err := c.backup.Next()
		if err == io.EOF {
			return c.compare()
		}
		if err != nil {
			return err
		}
		if part.Manifest {
			if c.server, err = io.ReadAll(c.backup); err != nil {
				return fmt.Errorf("receive the server's manifest: %w", err)
			}
			continue
		}
		if err := c.archive(ctx, part.OID); err != nil {
			return err
		}
	}
}

// archive reads one tar. Names in a tablespace's are below pg_tblspc/OID, as in the
// server's manifest.
func (c *cutter) archive(ctx context.Context, oid uint32) error {
	above := ""
	if oid != 0 {
		above = fmt.Sprintf("pg_tblspc/%d", oid)
	}
	for archive := tar.NewReader(c.backup); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive a base backup: %w", err)
		}
		f := &File{Path: path.Join(above, strings.TrimSuffix(h.Name, "/")), Mode: fs.FileMode(h.Mode).Perm(), Mtime: h.ModTime.UTC()}
		switch {
		case f.Path == "." || f.Path == above:
			continue
		case h.Typeflag == tar.TypeDir:
			f.Dir = true
		case h.Typeflag == tar.TypeReg:
			f.Size = h.Size
			if err := c.file(ctx, f, archive); err != nil {
				return fmt.Errorf("receive %s: %w", f.Path, err)
			}
		default:
			continue // a link, which restore makes from the list of tablespaces
		}
		c.files = append(c.files, f)
	}
}

func (c *cutter) file(ctx context.Context, f *File, content io.Reader) error {
	if f.Size > 0 {
		f.Frames = make(Frames, frames(f.Size))
	}
	parent := c.parent[f.Path]
	for i := range f.Frames {
		buffer := buffers.Get().(*[FrameSize]byte)
		plain := buffer[:f.FrameLength(i)]
		if _, err := io.ReadFull(content, plain); err != nil {
			return err
		}
		f.CRC = f.CRC.Add(plain)
		p := &piece{buffer: buffer, plain: plain, frame: &f.Frames[i], done: make(chan struct{})}
		if parent != nil && i < len(parent.Frames) {
			p.parent = &parent.Frames[i]
		}
		if err := c.send(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// compare holds what has arrived against what the server says that it has sent.
func (c *cutter) compare() error {
	sent, err := pg.ParseManifest(c.server)
	if err != nil {
		return err
	}
	arrived := make(map[string]*File, len(c.files))
	for _, f := range c.files {
		arrived[f.Path] = f
	}
	for _, s := range sent {
		f := arrived[s.Path]
		if f == nil {
			return fmt.Errorf("receive a base backup: %s is in the server's manifest and did not arrive", s.Path)
		}
		if !s.Arrived(f.Size, f.CRC) {
			return fmt.Errorf("receive a base backup: %s arrived other than the server sent it", s.Path)
		}
	}
	if arrived["backup_label"] == nil {
		return errors.New("receive a base backup: it has no backup_label")
	}
	return nil
}
