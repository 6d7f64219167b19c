#!/bin/sh
# Restores from an archive without skytools: with a shell, awk, GNU coreutils, zstd, and age
# where the archive is encrypted (lz4 where its WAL has compression: lz4).
#
#   restore.sh list STORE                       backups, the oldest first
#   restore.sh files STORE BACKUP DIRECTORY     the files of a backup, ready for recovery
#   restore.sh wal STORE FILE PATH              one file of WAL, as restore_command does
#
# STORE is a directory that holds what the store holds: of a bucket, a copy of it. AGE_KEY
# names a file with the identity. Run it as the user that runs PostgreSQL. A tablespace
# goes beside DIRECTORY, to DIRECTORY.OID.
#
# This is also the description of the format: a manifest is zstd over a line of JSON for the
# backup, each file, and the end. A file is a row of frames of 64 kB; each has 44 bytes in
# "frames": BLAKE3 of the content, number of the pack in the list of the last line, offset and
# length in the pack, numbers of four bytes, high byte first. A frame is zstd.
set -eu

die() {
	echo "restore.sh: $*" >&2
	exit 1
}

open() { # decrypts what is encrypted
	if head -c 22 "$1" | grep -q '^age-encryption.org/v1'; then
		age -d -i "${AGE_KEY:?is not set, and $1 is encrypted}" "$1"
	else
		cat "$1"
	fi
}

unpack() { # checks and decrypts a pack
	line=$(sed -n "$1p" "$work/packs")
	echo "$line" | sha256sum -c --status || die "${line#*  } is damaged: get it from another store"
	open "${line#*  }" >"$work/$1"
}

epoch() { # the only system of the store, or SYSTEM
	set -- "$1"/e/${SYSTEM:-*}
	[ $# = 1 ] && [ -d "$1" ] || die "say which with SYSTEM=: $*"
	echo "$1"
}

field() { # the value of a member of a line of JSON, without its quotes
	sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

list() {
	for manifest in "$(epoch "$1")"/backup/*/manifest; do
		basename "$(dirname "$manifest")"
	done
}

files() {
	set -- "$(cd "$1" && pwd)" "$2" "$3"
	[ -z "${AGE_KEY:-}" ] || AGE_KEY=$(cd "$(dirname "$AGE_KEY")" && pwd)/$(basename "$AGE_KEY")
	store=$(epoch "$1")
	manifest=$store/backup/$2/manifest to=$3
	[ -f "$manifest" ] || die "there is no $manifest"
	mkdir -p "$to"
	[ -z "$(ls -A "$to")" ] || die "$to is not empty"
	chmod 700 "$to"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	zstd -dcq <"$manifest" >"$work/lines"

	# Packs, in the order in which frames count them.
	sed -n 's/^{"end".*"packs":\[\(.*\)\],"bytes".*/\1/p' "$work/lines" | tr '}' '\n' |
		sed -n 's/.*"backup":"\([^"]*\)","n":\([0-9]*\),.*"sha256":"\([0-9a-f]*\).*/\1 \2 \3/p' |
		while read -r backup n sum; do printf '%s  %s/pack/%s/%05d\n' "$sum" "$store" "$backup" "$n"; done >"$work/packs"

	# Links to tablespaces.
	mkdir -p "$to/pg_tblspc"
	head -n 1 "$work/lines" | tr '{' '\n' | sed -n 's/.*"oid":\([0-9]*\),"path".*/\1/p' |
		while read -r oid; do
			mkdir -m 700 "$to.$oid"
			ln -s "$(cd "$to.$oid" && pwd)" "$to/pg_tblspc/$oid"
		done

	# What is where: a line for each row of frames that follow each other in a pack and in a
	# file, with the pack, offset and length there, and position, length and name of the file.
	awk '
		function value(name, m) {
			if (!match($0, "\"" name "\":(\"[^\"]*|[^\",}]*)")) return ""
			m = substr($0, RSTART, RLENGTH)
			sub(/^"[^"]*":"?/, "", m)
			return m
		}
		function plain(s, out, c) { # what stands for a character; nothing: one that no line can have
			while (match(s, /\\./)) {
				out = out substr(s, 1, RSTART - 1)
				c = substr(s, RSTART + 1, 1)
				s = substr(s, RSTART + 2)
				if (c ~ /[bfnrt]/ || c == "u" && s !~ /^00[2-7]/) return ""
				if (c == "u") {
					c = sprintf("%c", 16 * substr(s, 3, 1) + index("123456789abcdef", substr(s, 4, 1)))
					s = substr(s, 5)
				}
				out = out c
			}
			return out s
		}
		function number(at) { return ((byte[at] * 256 + byte[at + 1]) * 256 + byte[at + 2]) * 256 + byte[at + 3] }
		BEGIN {
			digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
			for (i = 1; i <= 64; i++) digit[substr(digits, i, 1)] = i - 1
		}
		!/^\{"file":/ { next }
		match($0, /"path":"([^"\\]|\\.)*/) && (name = plain(substr($0, RSTART + 8, RLENGTH - 8))) == "" { print "left out, for its name: " substr($0, 10, 200) >"/dev/stderr"; next }
		/"dir":true/ { print "dir", name; next }
		name != "tablespace_map" {
			size = value("size") + 0; text = value("frames"); gsub(/=/, "", text)
			print "file", name
			print "want", size, name
			n = bits = held = 0
			for (i = 1; i <= length(text); i++) {
				held = held * 64 + digit[substr(text, i, 1)]; bits += 6
				if (bits >= 8) { bits -= 8; byte[n++] = int(held / 2 ^ bits); held %= 2 ^ bits }
			}
			for (f = 0; f * 44 < n; f++) {
				left = size - f * 65536
				print "frame", number(f * 44 + 32) + 1, number(f * 44 + 36), number(f * 44 + 40), f * 65536, (left < 65536 ? left : 65536), name
			}
		}' "$work/lines" >"$work/all"
	sed -n 's/^dir //p' "$work/all" | while read -r name; do mkdir -p -m 700 "$to/$name"; done
	sed -n 's/^file //p' "$work/all" | while read -r name; do : >"$to/$name"; done
	sed -n 's/^frame //p' "$work/all" | sort -k1n -k2n | awk '
		function piece() { if (name != "") print "piece", from, position - from, name }
		{
			path = $0
			for (i = 1; i <= 5; i++) sub(/^[^ ]* /, "", path)
			if ($1 != pack || $2 != end) { piece(); name = ""; print "stretch", $1, $2; pack = $1 }
			if (path != name || $4 != position) { piece(); name = path; from = $4 }
			position = $4 + $5; end = $2 + $3
		}
		END { piece() }' >"$work/plan"

	# A stretch is unpacked in one go, and handed out to files.
	exec 3<"$work/plan"
	read -r word pack offset <&3 || word=
	while [ "$word" = stretch ]; do
		[ -e "$work/$pack" ] || unpack "$pack"
		tail -c +$((offset + 1)) "$work/$pack" | zstd -dcq 2>/dev/null | {
			while read -r word at length name <&3 && [ "$word" = piece ]; do
				dd of="$to/$name" bs=64k iflag=fullblock,count_bytes count="$length" oflag=seek_bytes seek="$at" conv=notrunc status=none
			done
			echo "$word $at $length" >"$work/next"
		}
		read -r word pack offset <"$work/next"
	done
	find "$to/" "$to".* -type f -exec chmod 600 {} + 2>/dev/null || true
	sed -n 's/^want //p' "$work/all" | sort >"$work/want"
	find -L "$to" -type f -printf '%s %P\n' | sort | comm -13 - "$work/want" >"$work/wrong"
	[ -s "$work/wrong" ] && die "should be of these sizes and are not: $(head -n 5 "$work/wrong")"
	touch "$to/recovery.signal"
	cat >>"$to/postgresql.auto.conf" <<-END
		restore_command = 'AGE_KEY="${AGE_KEY:-}" SYSTEM="$(basename "$store")" sh "$(cd "$(dirname "$0")" && pwd)/restore.sh" wal "$1" %f %p'
		archive_mode = 'off'
	END
	echo "$to is ready: set recovery_target_time or the like if you want to stop early, and start PostgreSQL"
}

# To PostgreSQL exit code 1 means that there is no such file, which ends recovery. Whatever
# else is wrong must stop it: 255. Where a segment is missing and no later one is there, it may
# be the last, of which there are copies up to some position: SEGMENT.POSITION-*.partial. The
# longest one will do to end recovery with, and for nobody who follows the timeline further.
wal() {
	absent=
	trap 'code=$?; [ "$code" = 0 ] || [ -n "$absent" ] || exit 255' EXIT
	store=$(epoch "$1")
	[ -d "$store/wal" ] || die "there is no $store/wal"
	timeline=$store/wal/$(echo "$2" | cut -c1-8)
	case $2 in
	*.history) object=$store/wal/history/$2 ;;
	*) object=$timeline/$(echo "$2" | cut -c9-16)/$2 ;;
	esac
	if ! [ -e "$object" ] && [ -e recovery.signal ] && ! [ -e standby.signal ] &&
		[ -z "$(find "$timeline" -mindepth 2 -type f 2>/dev/null | sed 's,.*/,,' | awk -v this="$2" '$0 > this')" ]; then
		for partial in "$timeline/$2".*.partial; do # in the order of their positions
			object=$partial
		done
	fi
	if ! [ -e "$object" ]; then
		absent=yes
		exit 1
	fi
	tail -c +513 "$object" >"$3.body"
	open "$3.body" | case $(head -n 1 "$object" | field codec) in
	zstd) zstd -dcq ;;
	lz4) lz4 -dcq ;;
	*) cat ;;
	esac >"$3.new"
	rm "$3.body"
	echo "$(head -n 1 "$object" | field sha256)  $3.new" | sha256sum -c --status || die "$object is damaged, or the key is another"
	mv "$3.new" "$3"
}

[ $# -gt 1 ] || die "usage: restore.sh list STORE | files STORE BACKUP DIRECTORY | wal STORE FILE PATH"
command=$1
shift
case $command in
list | files | wal) "$command" "$@" ;;
*) die "unknown command $command" ;;
esac
