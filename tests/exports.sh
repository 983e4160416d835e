#!/usr/bin/env bash
# What the libraries export: exactly tests/exports.txt from libquarry.so, no other global name from the archives, and
# not more thread-local storage than the loader keeps in reserve for libraries that are opened late.
. "${QUARRY_SOURCE:-$(dirname "$0")/..}/tests/tap.sh"

tls_bytes_most=16

plan 9
cd "$QUARRY_BUILD" || bail "no build directory"
list=$(sed '/^#/d; /^$/d' "$QUARRY_SOURCE/tests/exports.txt" | LC_ALL=C sort)

# C library names stay unversioned, ours have a version: nm says so behind the name. Versions are absolute symbols.
exported=$($NM -D --defined-only --with-symbol-versions "$QUARRY_SO" | awk '$2 != "A" { print $3 }' | LC_ALL=C sort)
is "$(diff <(echo "$list") <(echo "$exported"))" "" "libquarry.so exports what tests/exports.txt lists"

plain=$(sed 's/@.*//' <<<"$list")
declared=$(sed -n 's/^QUARRY_EXPORT.*[ *]\(quarry_[a-z_]*\)(.*/\1/p' "$QUARRY_SOURCE/include/quarry/quarry.h" |
	LC_ALL=C sort)
is "$(grep ^quarry_ <<<"$plain")" "$declared" "the quarry_ names are those that quarry.h declares"

dynamic=$($READELF -W -d "$QUARRY_SO")
like "$dynamic" 'SONAME.*\[libquarry\.so\.0\]' "soname"
like "$dynamic" 'NODELETE' "can't be unloaded"
like "$dynamic" 'INITFIRST' "is initialised first"
like "$dynamic" 'BIND_NOW|FLAGS_1.*NOW' "is bound at once"

tls_bytes=$($READELF -W -l "$QUARRY_SO" | awk '$1 == "TLS" { print $6 }')
ok "thread-local storage: $((${tls_bytes:-0})) bytes, below $tls_bytes_most" \
	test "$((${tls_bytes:-0}))" -lt "$tls_bytes_most"

# Global names that an archive defines.
defined() {
	$NM -P -g "$1" | awk 'NF >= 2 && $2 !~ /^[Uwv]$/ { print $1 }' | grep -v '^quarry_internal_' | LC_ALL=C sort -u
}
is "$(diff <(grep -vE '^dlm?open$|nothrow' <<<"$plain") <(defined libquarry.a))" "" \
	"libquarry.a defines the same names, without dlopen, and leaves nothrow new and delete to the C++ library"
is "$(diff <(grep ^quarry_ <<<"$plain") <(defined libquarry-core.a))" "" "libquarry-core.a defines only quarry_ names"

done_testing
