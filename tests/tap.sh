# shellcheck shell=bash
# A shell library for tests that speak TAP. Source it first:
#
#     . "$QUARRY_SOURCE/tests/tap.sh"
#
# Each check is one numbered line, its arguments before the name of the check are what it compares:
#
#     plan 4                                  # or done_testing at the end, when the number isn't known before
#     ok "name" command arguments...          # passes if the command succeeds
#     is "$got" "$expected" "name"            # equal strings
#     like "$got" 'regular expression' "name" # bash's extended regular expressions
#     unlike "$got" 'regular expression' "name"
#     same_with "options" "name" command arguments...   # the same output and status, preloaded and not
#     pass "name"; not_ok "name"; skip "name" "reason"; skip_all "reason"; bail "what can't be"
#     diag "text"                             # goes to the log
#
# $scratch is a directory that is removed at the end. A script that dies between checks fails: its plan isn't met.
# The variables that Makefile.am sets (QUARRY_SOURCE, QUARRY_BUILD, QUARRY_SO, CC, CXX, ...) have defaults for running a
# test by hand from a build directory.
set -u

: "${QUARRY_SOURCE:=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}"
: "${QUARRY_BUILD:=$PWD}"
: "${QUARRY_SO:=$QUARRY_BUILD/.libs/libquarry.so}"
: "${CC:=cc}" "${CXX:=c++}" "${NM:=nm}" "${READELF:=readelf}" "${MAKE:=make}"
# Whoever runs the tests may have a file of options.
export QUARRY_CONFIG=
export QUARRY_SOURCE QUARRY_BUILD QUARRY_SO CC CXX NM READELF MAKE

tap_count=0
tap_failed=0
tap_planned=

scratch=$(mktemp -d "${TMPDIR:-/tmp}/quarry-test.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT

plan() {
	tap_planned=$1
	echo "1..$1"
}

# same_with OPTIONS NAME COMMAND...: output and status are the same preloaded with these options as without Quarry, but
# for lines that match $said_besides, if that is set; skipped if the command isn't there.
same_with() {
	local options=$1 name=$2 expected found
	shift 2
	if ! command -v "$1" >/dev/null; then
		skip "$name" "no $1"
		return
	fi
	expected=$(timeout 300 "$@" 2>&1; echo "status $?")
	found=$(QUARRY_OPTIONS=$options LD_PRELOAD=$QUARRY_SO timeout 300 "$@" 2>&1; echo "status $?")
	[ -z "${said_besides-}" ] || found=$(grep -av "$said_besides" <<<"$found")
	is "$found" "$expected" "$name"
}

done_testing() {
	if [ -z "$tap_planned" ]; then
		echo "1..$tap_count"
	elif [ "$tap_planned" -ne "$tap_count" ]; then
		bail "planned $tap_planned checks, made $tap_count"
	fi
	exit "$((tap_failed < 98 ? tap_failed : 98))"
}

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

# A '#' in a name would start a directive.
tap_name() {
	printf '%s' "${1//#/}" | tr '\n' ' '
}

pass() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $(tap_name "$1")"
}

not_ok() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $(tap_name "$1")"
	return 1
}

ok() {
	local name=$1
	shift
	local status=0
	"$@" || status=$?
	if [ "$status" -eq 0 ]; then
		pass "$name"
	else
		not_ok "$name"
		diag "failed with status $status: $*"
		return 1
	fi
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $(tap_name "$1") # SKIP ${2:?a skip names its reason}"
}

skip_all() {
	echo "1..0 # SKIP ${1:?a skip names its reason}"
	exit 0
}

bail() {
	echo "Bail out! $*"
	exit 99
}

is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		not_ok "$3"
		diag "got:      $1"
		diag "expected: $2"
		return 1
	fi
}

like() {
	if [[ $1 =~ $2 ]]; then
		pass "$3"
	else
		not_ok "$3"
		diag "got:           $1"
		diag "doesn't match: $2"
		return 1
	fi
}

unlike() {
	if [[ $1 =~ $2 ]]; then
		not_ok "$3"
		diag "got:     $1"
		diag "matches: $2"
		return 1
	else
		pass "$3"
	fi
}
