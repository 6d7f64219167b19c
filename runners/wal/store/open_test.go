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
