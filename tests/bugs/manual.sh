#!/usr/bin/env bash
# doc/errors.md explains each report that src/guard/report.c can write: the section, and the words of its title.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

manual=$QUARRY_SOURCE/doc/errors.md
[ -e "$manual" ] || bail "doc/errors.md is missing"

# Findings look like: { "title", "section" }
findings=$(grep -oh '{ *"[^"]*", *"[a-z-]*" *}' "$QUARRY_SOURCE"/src/guard/*.c)
ok "report.c's findings are found" test -n "$findings"
while IFS='"' read -r _ title _ section _; do
	ok "#$section is a section of doc/errors.md" grep -qx "## $section" "$manual"
	ok "doc/errors.md has the words: $title" grep -qF ": $title" "$manual"
done <<<"$findings"

sections=$(sed -n 's/^## //p' "$manual" | sort)
printed=$(while IFS='"' read -r _ _ _ section _; do echo "$section"; done <<<"$findings" | sort -u)
is "$sections" "$printed" "doc/errors.md explains nothing that is never reported"
done_testing
