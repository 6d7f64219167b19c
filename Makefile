# skytools: every target works on a fresh clone. Those that need a PostgreSQL
# server install a package when there is none (Debian and Ubuntu), or say which.

GO ?= go

.PHONY: build demo demo-archive test test-versions soak bench lint server

build:
	$(GO) build -o bin/ ./cmd/...

demo: server build
	bin/skytools demo

demo-archive: server build
	bin/skytools demo archive

test: server
	$(GO) test -race -timeout 60m ./...

# What depends on the version of the server, on one of each that .ci/postgres brings:
# installation, triggers, nodes, tables, apply of a whole topology, replay and copy, WAL that
# is archived and received, backup and restore.
VERSIONED = ./sql/pg ./sql/pgq ./sql/pgqcoop ./sql/pgqext ./sql/pgqnode ./sql/londiste ./applier ./runners/cascade ./runners/consume ./runners/compare ./runners/forward ./runners/wal/segment ./runners/wal/backup ./runners/wal/receive ./runners/wal/restore ./runners/wal/standby ./cmd/skytools-wal
VERSIONED_TESTS = '^Test(Install|Signatures|Upgrades|Version|Roles|Grants|Triggers?[A-Z]|GeneratedCapture|CreateCapture|Catalogs$$|Facts$$|Core$$|Cooperation$$|RootBranchAndLeaf|Registration|ForeignKeys|Execute$$|Sequences$$|Merge$$|Partitions|CreateTable|HostileNames|SessionReplicationRole|ApplyConverges|LeastPrivilege|ReplayRootBranchLeaf|CopyDownTheCascade|Types$$|OddTables|WithoutReplicaRole|StatementCapture|CaptureOfAnAlteredTable|CapturesLeaveNothing|InsertEvent|ManyQueues|Compare$$|BatchesComeInOrder|EventsAreWhole|MembersShareBatches|RowsOfTriggers|Scripts|HandMadeEvents|BinaryCopy|CopyInPieces|Mapping$$|Mask$$|Parts$$|SegmentHeader$$|Create$$|Failover$$|RoundTrip$$|BackupFromAStandby|Receive$$|Timelines$$|Lost$$|Dropped$$|SegmentSizes$$|Switchover$$|RewindByBackup$$|DiskFull$$|TakeFindsBadPages$$|BaseBackupFindsBadPages$$)'

test-versions: server
	@bins=$$(.ci/postgres) || exit 1; for bin in $$bins; do \
		"$$bin/postgres" --version && PG_BIN=$$bin $(GO) test -count=1 -run $(VERSIONED_TESTS) $(VERSIONED) || exit 1; \
	done

# Everything is killed under load, queues for this long and what archives WAL so many times
# (two minutes for each hundred), and nothing may be lost or come twice.
SOAK ?= 10m
SOAK_KILLS ?= 1000

soak: server
	SOAK=$(SOAK) $(GO) test -race -count=1 -v -timeout 0 -run '^TestSoak$$' ./runners/soak
	SOAK_KILLS=$(SOAK_KILLS) $(GO) test -race -count=1 -v -timeout 0 -run '^TestSoak$$' ./cmd/skytools-wal

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# BENCH=regexp selects figures, BENCH_OUT=file keeps them as JSON.
bench: server
	$(GO) run ./cmd/skytools/internal/bench

server:
	@.ci/server
