// Package store keeps objects where an archive wants them: in a directory, in an S3
// bucket or on an SFTP server.
//
// It knows keys and bytes. It does not know WAL, backups, compression or encryption,
// and it does not know which stores an archive has to reach: that is package repo.
//
// An object is written once and never changes; the store itself decides who of several
// writers was first, so that no lock is needed for it. The few objects that do change
// are written by [Store.Swap] alone. A key is either put or swapped, never both:
//
//	         Put            directory: link(2)         S3: If-None-Match: *    SFTP: hard link
//	absent ───────▶ there
//	   │     Swap           directory: flock, rename   S3: If-Match            SFTP: hard link to the
//	   └──────────▶ version ─Swap─▶ version …                                  next generation
//
// What is missing ([ErrNotExist]) is never mixed up with what could not be looked at: a
// root directory or a bucket that is not there is an error of another kind, because
// PostgreSQL ends its recovery on the former. Source: design/wal.md, R6, R15 and R52.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Store is a place for objects. It is safe for concurrent use, also by several
// processes and hosts at a time. Errors say which store, which operation and which key.
type Store interface {
	// Name is how errors and status call the store: its URL, which has no secrets.
	Name() string

	// Put writes an object, from the start of body to its end. When it returns nil the
	// object is whole and durable; otherwise it is not there, or it is whole and Put
	// could not learn that, which the next Put answers with [ErrExists]: the key is
	// taken, by the same content or by another.
	Put(ctx context.Context, key string, body io.ReadSeeker) error

	// Get reads length bytes from offset on, fewer where the object ends before; a
	// negative length reads to the end. [ErrNotExist] when there is no such object.
	Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat describes an object, with its version. [ErrNotExist] when there is none.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose key begins with prefix, all of them, sorted by the
	// bytes of their keys, without versions. It ends at the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes an object. That there is none is fine.
	Delete(ctx context.Context, key string) error

	// Swap writes a small object (at most [SwapLimit] bytes) if its version is still the
	// given one, or if it does not exist and version is empty. It returns the new
	// version, or [ErrChanged]; after another error, and after ErrChanged where the
	// network lost an answer, whoever swaps reads again to see which it was. To read an
	// object and its version, take Stat before Get.
	Swap(ctx context.Context, key, version string, body io.ReadSeeker) (string, error)
}

// Info is what a store says about an object.
type Info struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // by the store's clock
	Version  string    // for Swap; only from Stat, and of objects within SwapLimit
}

// SwapLimit is the size in bytes up to which an object can be swapped.
const SwapLimit = 1 << 20

// What callers tell apart. Any other error means that the store cannot tell.
var (
	ErrExists   = errors.New("an object of this name exists")
	ErrNotExist = errors.New("no such object")
	ErrChanged  = errors.New("the object has changed meanwhile")
)

// Config is where a store is, and the secrets to open it with, as values.
type Config struct {
	// URL is file:///directory,
	// s3://bucket/prefix?endpoint=https://host:port&region=…&path_style=true or
	// sftp://user@host:port/directory?known_hosts=/file. It holds no secret.
	URL string

	// S3. All empty: what the environment, the AWS credentials file or the machine
	// offers, in this order.
	AccessKey, SecretKey, SessionToken string

	// SFTP: a private key in PEM, and what it is protected with, if anything.
	PrivateKey, Passphrase string
}

// Open returns the store of a URL. It looks at the configuration only: whether the
// store can be reached shows at its first use.
func Open(ctx context.Context, c Config) (Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("open store: the URL cannot be read") // its text may hold a secret
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path} // without what may turn out to be a secret
	if _, secret := u.User.Password(); secret {
		return nil, fmt.Errorf("open store %s: a URL must not hold a password", &bare)
	}
	open := map[string]func(context.Context, *url.URL, Config) (Store, error){
		"file": openDirectory, "s3": openS3, "sftp": openSFTP,
	}[u.Scheme]
	if open == nil {
		return nil, fmt.Errorf("open store %s: a URL begins with file://, s3:// or sftp://", &bare)
	}
	s, err := open(ctx, u, c)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", &bare, err)
	}
	return s, nil
}

// parameters are those of a URL; one that is not known is an error.
func parameters(u *url.URL, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the parameters cannot be read")
	}
	values := map[string]string{}
	for name, all := range query {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no parameter %q (there are: %s)", name, strings.Join(known, ", "))
		}
		if len(all) > 1 {
			return nil, fmt.Errorf("parameter %q is given %d times", name, len(all))
		}
		values[name] = all[0]
	}
	return values, nil
}

// checked returns an error for what cannot be a key: keys are slash-separated names, of
// which none begins with a dot, as those are for what is not yet an object.
func checked(key string) error {
	if !fs.ValidPath(key) || strings.HasPrefix(key, ".") || strings.Contains(key, "/.") {
		return fmt.Errorf("%q is no key", key)
	}
	return nil
}

// failed says what was being done to which object of which store.
func failed(s Store, what, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s in %s: %w", what, key, s.Name(), err)
}

// sizeOf is how many bytes body has, which is then read from its start.
func sizeOf(body io.ReadSeeker) (int64, error) {
	size, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	_, err = body.Seek(0, io.SeekStart)
	return size, err
}

// small reads a body for Swap.
func small(body io.ReadSeeker) ([]byte, error) {
	size, err := sizeOf(body)
	if err != nil {
		return nil, err
	}
	if size > SwapLimit {
		return nil, fmt.Errorf("%d bytes are too many to swap", size)
	}
	return io.ReadAll(body)
}

// a section is what Get returns of a file.
type section struct {
	io.Reader
	io.Closer
}
