package applier_test

import (
	"strings"
	"testing"

	"github.com/skytools-go/skytools/sql/sandbox"
	"github.com/skytools-go/skytools/sql/sandbox/sandboxtest"
)

// TestProofWithoutSuperuser: the rights that skytools sql grants names are enough to set an
// archive and to prove it, and to know what pg_hba.conf lets in.
func TestProofWithoutSuperuser(t *testing.T) {
	s := newShelf(t)
	hub := s.dbs["hub"]
	if sandboxtest.One[int32](t, hub, "select current_setting('server_version_num')::int") < 150000 {
		t.Skip("before 15 only superusers change settings")
	}
	s.does("exit 0")
	hub.Script(t, `
create role deploy login createrole;
do $$ begin execute format('grant create on database %I to deploy', current_database()); end $$;
grant alter system on parameter archive_mode, archive_command, wal_level to deploy;
grant execute on function pg_reload_conf(), pg_create_restore_point(text), pg_switch_wal(), pg_stat_reset_shared(text) to deploy;
grant select on pg_hba_file_rules to deploy;
grant execute on function pg_hba_file_rules() to deploy`)
	s.dbs["hub"] = &sandboxtest.DB{DSN: strings.Replace(hub.DSN, "user="+sandbox.User, "user=deploy", 1), Server: hub.Server, Name: hub.Name}
	if rows := s.live().Databases["hub"].Facts["hba"]; len(rows) != 1 {
		t.Errorf("what pg_hba.conf lets in: %s", rows)
	}
	s.apply(s.only(s.plan(s.yaml), "set, prove"))
	s.empty(s.yaml)
}
