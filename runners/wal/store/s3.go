package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// A bucket is a store in S3, or in what speaks like it.
//
// Objects go in one request with a length and an MD5 sum, and without the chunked
// signatures and checksum headers of recent SDKs, which not every server understands
// (design/wal.md, R51). So an object has at most 5 GiB. The library repeats requests
// that a server was too busy for; when it repeats one that had succeeded, the answer is
// that the key is taken, which is true.
type bucket struct {
	url, name, prefix string
	client            minio.Core
}

// tries is how often a request is sent at most.
const tries = 5

func openS3(_ context.Context, u *url.URL, c Config) (Store, error) {
	p, err := parameters(u, "endpoint", "region", "path_style")
	if err != nil {
		return nil, err
	}
	prefix := strings.Trim(u.Path, "/")
	switch {
	case u.Host == "" || u.User != nil || u.Port() != "":
		return nil, errors.New("it is written s3://bucket/prefix, and a server is given as ?endpoint=https://host:port")
	case prefix != "" && checked(prefix) != nil:
		return nil, checked(prefix)
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return nil, errors.New("of access key and secret key only one is given")
	}
	endpoint, secure, err := endpointOf(cmp.Or(p["endpoint"], "s3.amazonaws.com"))
	if err != nil {
		return nil, err
	}
	lookup := map[string]minio.BucketLookupType{"": minio.BucketLookupAuto, "false": minio.BucketLookupAuto, "true": minio.BucketLookupPath}
	style, ok := lookup[p["path_style"]]
	if !ok {
		return nil, fmt.Errorf("path_style is true or false, not %q", p["path_style"])
	}
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.DialContext = dial
	transport.MaxIdleConnsPerHost = 64
	transport.ResponseHeaderTimeout = patience
	client, err := minio.New(endpoint, &minio.Options{
		Creds: credentialsOf(c), Secure: secure, Region: p["region"], BucketLookup: style, Transport: transport, MaxRetries: tries,
	})
	if err != nil {
		return nil, err
	}
	b := &bucket{url: u.String(), name: u.Host, client: minio.Core{Client: client}}
	if prefix != "" {
		b.prefix = prefix + "/"
	}
	return b, nil
}

// endpointOf reads host:port, which is spoken to by HTTPS, or a URL that may say otherwise.
func endpointOf(text string) (host string, secure bool, err error) {
	if !strings.Contains(text, "://") {
		return text, true, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.User != nil:
		return "", false, errors.New("the endpoint is no URL like https://host:port")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return "", false, fmt.Errorf("endpoint %s is not like https://host:port", text)
	}
	return u.Host, u.Scheme == "https", nil
}

func credentialsOf(c Config) *credentials.Credentials {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: patience}},
	})
}

func (b *bucket) Name() string { return b.url }

func (b *bucket) Put(ctx context.Context, key string, body io.ReadSeeker) error {
	_, err := b.put(ctx, key, body, func(o *minio.PutObjectOptions) { o.SetMatchETagExcept("*") })
	if code(err) == http.StatusPreconditionFailed {
		err = ErrExists
	}
	return failed(b, "put", key, err)
}

// put writes under a condition, and again while the server is busy with another write
// of the same key. Source: Amazon S3 documentation, conditional writes, 409.
func (b *bucket) put(ctx context.Context, key string, body io.ReadSeeker, condition func(*minio.PutObjectOptions)) (string, error) {
	if err := checked(key); err != nil {
		return "", err
	}
	size, err := sizeOf(body)
	if err != nil {
		return "", err
	}
	options := minio.PutObjectOptions{DisableMultipart: true, SendContentMd5: true, DisableContentSha256: true}
	condition(&options)
	for try := 1; ; try++ {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		done, err := b.client.Client.PutObject(ctx, b.name, b.prefix+key, readerAt(body), size, options)
		if code(err) != http.StatusConflict || try == tries {
			return done.ETag, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(time.Duration(try) * rand.N(200*time.Millisecond)):
		}
	}
}

func (b *bucket) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := b.get(ctx, key, offset, length)
	if err != nil {
		return nil, failed(b, "get", key, missing(err))
	}
	return r, nil
}

func (b *bucket) get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checked(key); err != nil {
		return nil, err
	}
	var options minio.GetObjectOptions
	switch {
	case length == 0:
		_, err := b.stat(ctx, key)
		return http.NoBody, err
	case length > 0:
		if err := options.SetRange(offset, offset+length-1); err != nil {
			return nil, err
		}
	case offset > 0:
		if err := options.SetRange(offset, 0); err != nil {
			return nil, err
		}
	}
	r, _, _, err := b.client.GetObject(ctx, b.name, b.prefix+key, options)
	if code(err) == http.StatusRequestedRangeNotSatisfiable {
		return http.NoBody, nil
	}
	return r, err
}

func (b *bucket) Stat(ctx context.Context, key string) (Info, error) {
	info, err := b.stat(ctx, key)
	return info, failed(b, "stat", key, missing(err))
}

func (b *bucket) stat(ctx context.Context, key string) (Info, error) {
	if err := checked(key); err != nil {
		return Info{}, err
	}
	object, err := b.client.Client.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, err
	}
	info := Info{Key: key, Size: object.Size, Modified: object.LastModified}
	if info.Size <= SwapLimit {
		info.Version = object.ETag
	}
	return info, nil
}

func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for object := range b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
			if object.Err != nil {
				yield(Info{}, failed(b, "list", prefix, object.Err))
				return
			}
			key := strings.TrimPrefix(object.Key, b.prefix)
			if checked(key) == nil && !yield(Info{Key: key, Size: object.Size, Modified: object.LastModified}, nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(Info{}, failed(b, "list", prefix, err))
		}
	}
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	if err := checked(key); err != nil {
		return failed(b, "delete", key, err)
	}
	err := missing(b.client.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	return failed(b, "delete", key, err)
}

func (b *bucket) Swap(ctx context.Context, key, version string, body io.ReadSeeker) (string, error) {
	next, err := b.swap(ctx, key, version, body)
	switch {
	case code(err) == http.StatusPreconditionFailed, errors.Is(missing(err), ErrNotExist):
		err = ErrChanged
	}
	return next, failed(b, "swap", key, err)
}

func (b *bucket) swap(ctx context.Context, key, version string, body io.ReadSeeker) (string, error) {
	if _, err := small(body); err != nil {
		return "", err
	}
	return b.put(ctx, key, body, func(o *minio.PutObjectOptions) {
		if version == "" {
			o.SetMatchETagExcept("*")
		} else {
			o.SetMatchETag(version)
		}
	})
}

// code is the HTTP status that a server answered with, 0 when it did not.
func code(err error) int {
	if err == nil {
		return 0
	}
	return minio.ToErrorResponse(err).StatusCode
}

// missing turns the server's answer that there is no such key into ours. That there is
// no such bucket is another answer.
func missing(err error) error {
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return ErrNotExist
	}
	return err
}

// readerAt lets the library read a body again without keeping a copy of it.
func readerAt(body io.ReadSeeker) io.ReadSeeker {
	if _, ok := body.(io.ReaderAt); ok {
		return body
	}
	return &seekerAt{ReadSeeker: body}
}

type seekerAt struct {
	io.ReadSeeker
	mu sync.Mutex
}

func (s *seekerAt) ReadAt(p []byte, offset int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(s.ReadSeeker, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
