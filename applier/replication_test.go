package applier_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/skytools-go/skytools/applier/observe"
	"github.com/skytools-go/skytools/planner"
	"github.com/skytools-go/skytools/sql/archive"
	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestReplicationFacts reads from a server what replication needs of it: who gets in by
// pg_hba.conf, who may, and what is free. A role without rights is told all but pg_hba.conf.
func TestReplicationFacts(t *testing.T) {
	s := sandboxtest.Private(t, sandbox.Options{})
	db := sandboxtest.DatabaseOn(t, s, "template1")
	db.Script(t, `
create role little login;
create role replicators;
create role receiver login replication in role replicators;
select pg_create_physical_replication_slot('skytools_wal', true)`)
	look := func(dsn string) *planner.Database {
		t.Helper()
		live, err := observe.Cluster(t.Context(), []observe.Target{{Name: "hub", DSN: func(context.Context) (string, error) { return dsn, nil }}}, observe.Options{})
		if err != nil || live.Databases["hub"].Error != "" {
			t.Fatalf("%v, %s", err, live.Databases["hub"].Error)
		}
		return live.Databases["hub"]
	}
	replication := func(d *planner.Database) (r archive.Replication) {
		t.Helper()
		if err := json.Unmarshal(d.Facts["replication"][0], &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := replication(look(db.DSN))
	if slot := r.Slot("skytools_wal"); !r.May || len(r.Roles) != 1 || r.Roles[0] != "receiver" || r.Senders == 0 || r.MaxSlots == 0 || slot == nil || slot.Active || slot.Status == nil || *slot.Status != "reserved" {
		t.Errorf("%+v", r)
	}
	little := look(strings.Replace(db.DSN, "user="+sandbox.User, "user=little", 1))
	if r := replication(little); r.May || r.Role != "little" || len(r.Roles) != 1 || len(little.Facts["hba"]) != 0 {
		t.Errorf("for a role without rights: %+v, %s", r, little.Facts["hba"])
	}

	file := sandboxtest.One[string](t, db, "show hba_file")
	for _, c := range []struct {
		line string
		lets bool
	}{
		{"", false},
		{"local replication all trust", true},
		{"host replication +replicators 10.0.0.0/8 scram-sha-256", true},
		{"host replication receiver 10.0.0.0/8 scram-sha-256", true},
		{"host replication little 10.0.0.0/8 scram-sha-256", false},
		{"host replication all 10.0.0.0/8 reject", false},
		{"host all receiver 10.0.0.0/8 trust", false},
		{"host replication all 10.0.0.0/8 nonsense", false},
	} {
		if err := os.WriteFile(file, []byte("local all all trust\n"+c.line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var a archive.Admission
		if err := json.Unmarshal(look(db.DSN).Facts["hba"][0], &a); err != nil || a.Lets != c.lets {
			t.Errorf("%q lets somebody in: %t, %v", c.line, a.Lets, err)
		}
	}
}
