package standby

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/skytools-go/skytools/runners/wal"
	"github.com/skytools-go/skytools/sql/pg"
)

// mark is the file that says that a copy is under way. A directory that has it is ours.
const mark = "skytools.copy"

// control is the file without which no server starts. It comes last.
const control = "global/pg_control"

// copying is a base backup on its way from the primary to the data directory.
type copying struct {
	*Standby
	owner  owner
	backup *pg.BaseBackup
	got    map[string]got  // by the path that the manifest has
	dirs   map[string]bool // to make durable
	buffer []byte
	done   int64
	total  int64
	tell   func(done, total int64)
}

// copy takes the data from the primary. The order is that of [restore.Restore]: until the
// end there is no pg_control. The WAL that the copy needs is kept by the slot, or is in
// the archive; nothing waits for it.
func (s *Standby) copy(ctx context.Context, u *upstream, o owner, c Creating, settings map[string]string) (written int64, err error) {
	if err := s.begin(o); err != nil {
		return 0, err
	}
	r, err := pg.Replicate(ctx, s.Primary, pg.Options{App: "skytools standby"})
	if err != nil {
		return 0, fmt.Errorf("primary of standby %s: %w", s.Name, err)
	}
	defer r.Close()
	system, err := r.Identify(ctx)
	if err != nil {
		return 0, err
	}
	if system.ID != u.System {
		return 0, fmt.Errorf("two connections to the primary lead to two systems, %s and %s", u.System, system.ID)
	}
	b, err := r.BaseBackup(ctx, pg.BackupOptions{Label: "skytools standby " + s.Name, Fast: true, Rate: c.Rate})
	if err != nil {
		return 0, err
	}
	defer b.Close()
	k := &copying{Standby: s, owner: o, backup: b, got: map[string]got{}, dirs: map[string]bool{}, buffer: make([]byte, 256<<10), tell: c.Progress}
	if err := k.run(); err != nil {
		return 0, err
	}
	return k.done, k.finish(settings)
}

// begin makes the directory one that no server starts on and that we know again.
func (s *Standby) begin(o owner) error {
	if err := o.mkdir(s.Data); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Data)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Data, mark)); len(entries) > 0 && err != nil {
		return &Error{s.Data + " is not empty", "choose another directory, or empty it"}
	}
	if err := s.empty(mark); err != nil {
		return err
	}
	return errors.Join(o.own(s.Data), os.Chmod(s.Data, 0o700), o.write(filepath.Join(s.Data, mark), nil))
}

// empty removes what is in the data directory but for one file, and what is its in
// tablespaces.
func (s *Standby) empty(keep string) error {
	links, err := filepath.Glob(filepath.Join(s.Data, "pg_tblspc", "*"))
	if err != nil {
		return err
	}
	for _, link := range links {
		mine, err := filepath.Glob(filepath.Join(link, "PG_*"))
		if err != nil {
			return err
		}
		for _, dir := range mine {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(s.Data)
	for _, e := range entries {
		if e.Name() != keep {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.Data, e.Name())))
		}
	}
	return err
}

// run receives all parts. The manifest comes last and says what they must be.
func (k *copying) run() error {
	for _, space := range k.backup.Tablespaces {
		k.total += space.Size
		if err := k.tablespace(space); err != nil {
			return err
		}
	}
	var manifest []byte
	for {
		part, err := k.backup.Next()
		switch {
		case err == io.EOF:
			return k.compare(manifest)
		case err != nil:
			return err
		case part.Manifest:
			if manifest, err = io.ReadAll(k.backup); err != nil {
				return err
			}
		default:
			if err := k.archive(part); err != nil {
				return err
			}
		}
	}
}

// tablespace makes the place of a tablespace, and the link to it.
func (k *copying) tablespace(space pg.Tablespace) error {
	if space.OID == 0 {
		return nil
	}
	to := k.place(space)
	if !filepath.IsAbs(to) {
		return fmt.Errorf("the tablespace %s is not an absolute path", to)
	}
	link := filepath.Join(k.Data, "pg_tblspc", strconv.FormatUint(uint64(space.OID), 10))
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return &Error{"the tablespace directory " + to + " is not empty", "say where it goes with --tablespace " + space.Path + "=DIRECTORY, or empty it"}
	}
	if err := errors.Join(k.owner.mkdir(to), k.owner.mkdir(filepath.Dir(link))); err != nil {
		return err
	}
	k.dirs[to] = true
	return errors.Join(k.owner.own(to), os.Symlink(to, link), k.owner.own(link))
}

func (k *copying) place(space pg.Tablespace) string {
	if to, moved := k.Tablespaces[space.Path]; moved {
		return to
	}
	return space.Path
}

// archive writes the files of one tar archive.
func (k *copying) archive(part pg.Part) error {
	root, prefix := k.Data, ""
	for _, space := range k.backup.Tablespaces {
		if space.OID == part.OID && part.OID != 0 {
			root, prefix = k.place(space), path.Join("pg_tblspc", strconv.FormatUint(uint64(space.OID), 10))
		}
	}
	archive := tar.NewReader(k.backup)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the primary sent a file named %q", h.Name)
		}
		if err := k.entry(archive, h, filepath.Join(root, filepath.FromSlash(name)), path.Join(prefix, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// entry writes a directory or a file. Links to tablespaces are there already.
func (k *copying) entry(content io.Reader, h *tar.Header, to, name string) error {
	switch h.Typeflag {
	case tar.TypeDir:
		k.dirs[to] = true
		if err := k.owner.mkdir(to); err != nil {
			return err
		}
		return os.Chmod(to, 0o700)
	case tar.TypeReg:
		return k.file(content, h, to, name)
	}
	return nil
}

// got is a file that was written.
type got struct {
	size int64
	sum  pg.CRC
}

func (k *copying) file(content io.Reader, h *tar.Header, to, name string) error {
	if name == control {
		to += ".copied"
	}
	if name == "tablespace_map" { // it would undo what our links say
		to = os.DevNull
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	var sum pg.CRC
	n, err := io.CopyBuffer(io.MultiWriter(f, &sum), content, k.buffer)
	k.got[name] = got{n, sum}
	k.dirs[filepath.Dir(to)] = true
	if k.done += n; k.tell != nil {
		k.tell(min(k.done, k.total), k.total)
	}
	if to == os.DevNull {
		return errors.Join(err, f.Close())
	}
	return errors.Join(err, f.Sync(), f.Close(), k.owner.own(to), os.Chtimes(to, h.ModTime, h.ModTime))
}

// compare requires what the primary's own manifest says.
func (k *copying) compare(manifest []byte) error {
	sent, err := pg.ParseManifest(manifest)
	if err != nil {
		return err
	}
	for _, f := range sent {
		got, found := k.got[f.Path]
		if !found || !f.Arrived(got.size, got.sum) {
			return fmt.Errorf("%s: what was received is not what the primary sent", f.Path)
		}
	}
	return nil
}

// finish makes all durable and lets a server start.
func (k *copying) finish(settings map[string]string) error {
	if err := k.owner.configure(k.Data, settings); err != nil {
		return err
	}
	for dir := range k.dirs {
		if err := wal.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	place := filepath.Join(k.Data, filepath.FromSlash(control))
	if err := os.Rename(place+".copied", place); err != nil {
		return err
	}
	return errors.Join(wal.SyncDir(filepath.Dir(place)), os.Remove(filepath.Join(k.Data, mark)), wal.SyncDir(k.Data))
}
