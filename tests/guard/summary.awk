# A report's text in one line, as summary.py makes it of the JSON: what bugs.sh compares. Functions with C names alone: which
# of C++'s are inlined is the compiler's matter.
function place(line) {
	if (line ~ /the first byte behind/) return "behind 0"
	if (line ~ /the start of a/ && line !~ /before/) return "inside 0"
	match(line, /[0-9]+ byte/)
	return (line ~ /before the start/ ? "before " : line ~ /inside/ ? "inside " : "behind ") substr(line, RSTART, RLENGTH - 5)
}
function add(name) { if (count[section]++ < 2) stack[section] = stack[section] (stack[section] ? "<" : "") name }
function thread_name(line) { return match(line, /\([^)]*\)/) ? substr(line, RSTART + 1, RLENGTH - 2) : "" }
FNR == 1 && NR > 1 { flush_one() }
/^quarry: (read|write|execution|access) / { action = $2 ($3 == "of" ? " " $4 : ""); reports++; next }
/^quarry: .*\(0x/ { action = substr($0, 9); sub(/\(0x.*/, "", action); reports++; next }
/^quarry: guard: / { next }
/^quarry: / { action = "?"; reports++; next }
/^  where / { where = place($0) }
/^  block / {
	match($0, /, [0-9]+ byte/)
	block = substr($0, RSTART + 2, RLENGTH - 7)
	match($0, /from .*, (live|freed)$/)
	block = ($0 ~ /freed$/ ? "freed " : "live ") block " " substr($0, RSTART + 5, RLENGTH - ($0 ~ /freed$/ ? 12 : 11))
}
/^  changed / { match($0, /offset -?[0-9]+/); changed = " at " substr($0, RSTART + 7, RLENGTH - 7) }
/^  (accessed by|found in) / { section = "here"; name = thread_name($0) }
/^  freed by / { section = "freed"; match($0, /and [0-9]+ frees? ago/); split(substr($0, RSTART), word, " "); frees = " frees " word[2] }
/^  allocated by / { section = "allocated" }
/^    #[0-9]+ / && $3 !~ /^(\(|_Z)/ && index($0, "/" program "+0x") { add(substr($3, 1, index($3, "+") - 1)) }
/^  meaning / { kind = $2; sub(/.*#/, "", kind) }
function flush_one() {
	if (reports == 0) print "no report"
	else {
		line = kind " " action (where ? " " where : "") changed (block ? ": " block : "") frees "; " stack["here"] "@" name
		if ("freed" in stack) line = line "; freed " stack["freed"]
		if ("allocated" in stack) line = line "; allocated " stack["allocated"]
		print line (reports > 1 ? "; " reports " reports" : "")
	}
	kind = action = where = changed = block = frees = name = section = ""
	reports = 0
	split("", stack)
	split("", count)
}
END { flush_one() }
