package store_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/runners/wal/store"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, wrong string }{
		{"file:///srv/wal", ""},
		{"file://srv/wal", "not absolute"},
		{"file:srv/wal", "not absolute"},
		{"file:///srv/wal?mode=0600", `no parameter "mode"`},
		{"/srv/wal", "begins with file://, s3:// or sftp://"},
		{"s3://bucket/a/b?endpoint=https://host:9000&region=eu&path_style=true", ""},
		{"s3://bucket", ""},
		{"s3://key:hunter2@bucket", "must not hold a password"},
		{"s3://key@bucket", "it is written s3://bucket/prefix"},
		{"s3://host:9000/bucket", "it is written s3://bucket/prefix"},
		{"s3://bucket/a/../b", "is no key"},
		{"s3://bucket?path_style=yes", "path_style is true or false"},
		{"s3://bucket?endpoint=ftp://host", "is not like https://host:port"},
		{"s3://bucket?endpoint=https://key:hunter2@host", "is no URL like https://host:port"},
		{"s3://bucket?secret_key=hunter2", `no parameter "secret_key"`},
		{"gs://bucket", "begins with file://, s3:// or sftp://"},
	} {
		s, err := store.Open(t.Context(), store.Config{URL: c.url})
		switch {
		case c.wrong == "" && err != nil:
			t.Errorf("%s: %v", c.url, err)
		case c.wrong == "" && s.Name() != c.url:
			t.Errorf("%s is called %s", c.url, s.Name())
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: %v, not %s", c.url, err, c.wrong)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%v tells the password", err)
		}
	}
}
