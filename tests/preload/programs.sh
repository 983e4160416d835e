#!/usr/bin/env bash
# Real programs under preload: their output and exit status are what they are without, and Quarry says nothing.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
export LC_ALL=C
cd "$scratch" || bail "no scratch directory"

# same NAME NEEDED COMMAND...: skipped unless the program NEEDED is there
same() {
	local name=$1 needed=$2 plain plain_status preloaded preloaded_status
	shift 2
	if ! command -v "$needed" >/dev/null; then
		skip "$name" "no $needed"
		return
	fi
	plain=$(timeout 200 "$@" 2>&1 </dev/null)
	plain_status=$?
	[ -n "$plain" ] || bail "$name says nothing"
	preloaded=$(timeout 200 env LD_PRELOAD="$QUARRY_SO" "$@" 2>&1 </dev/null)
	preloaded_status=$?
	is "$preloaded_status: $preloaded" "$plain_status: $plain" "$name"
}

cat >work.py <<'END'
import hashlib, json, random, re, subprocess, threading, collections, sys
random.seed(1)
data = [{"key %d" % i: [random.random() for _ in range(i % 50)]} for i in range(3000)]
text = json.dumps(data)
print(hashlib.sha256(json.dumps(json.loads(text)).encode()).hexdigest())
print(len(re.findall(r"0\.[0-4]\d*", text)), re.sub(r"(\d)(\d)", r"\2\1", text)[:200])
print(subprocess.run(["sh", "-c", "echo from a child; exit 3"], capture_output=True))
print(subprocess.run([sys.executable, "-c", "print(sum(range(10**6)))"], capture_output=True).stdout)
results = collections.Counter()
def work(n):
    results[n % 3] += len("".join(str(i) for i in range(20000)))
threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(results.items()))
END
same "python3: json, regular expressions, subprocesses, threads" python3 python3 work.py
same "python3: the allocator is malloc" python3 env PYTHONMALLOC=malloc python3 work.py

cat >work.sql <<'END'
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
INSERT INTO t SELECT i, 'name ' || (i * 7919 % 50000), i * 0.5 FROM n;
CREATE INDEX t_name ON t(name);
SELECT count(*), sum(value), max(name) FROM t;
SELECT a.id, b.id FROM t a JOIN t b ON a.name = b.name ORDER BY a.name LIMIT 20;
UPDATE t SET name = name || '!' WHERE id % 3 = 0;
SELECT group_concat(name) FROM (SELECT name FROM t ORDER BY name LIMIT 100);
END
same "sqlite3" sqlite3 sh -c 'rm -f work.db; sqlite3 work.db <work.sql'

cat >work.pl <<'END'
my %words;
for my $i (1 .. 60000) { push @{$words{$i % 997}}, "word $i" x ($i % 5); }
my $text = join ",", map { @{$words{$_}} } sort keys %words;
print length $text, " ", scalar(() = $text =~ /word (\d)\d*7/g), "\n";
$text =~ s/(word) (\d+)/$2 $1/g;
print substr($text, 0, 200), "\n", `echo from a child`;
my $pid = fork; if (!$pid) { my @a = map { "x" x $_ } 1 .. 1000; exit 7 } waitpid $pid, 0; print $? >> 8, "\n";
END
same "perl: hashes, regular expressions, fork" perl perl work.pl

cat >work.git <<'END'
set -e
rm -rf repository
git -c init.defaultBranch=main init -q repository
cd repository
export GIT_AUTHOR_DATE='2020-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2020-01-01 00:00:00 +0000'
git config user.name nobody
git config user.email nobody@example.org
for i in 1 2 3 4 5; do
	seq $i 3000 >file$i
	git add .
	git commit -q -m "commit $i"
done
git gc -q
git log --stat --format=%H
git diff HEAD~3 | sha256sum
git fsck 2>&1
END
same "git: commits, gc, log, diff" git sh work.git

cat >work.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
int main(void)
{
	static char *lines[10000];
	for (int i = 0; i < 10000; i++) {
		char text[32];
		sprintf(text, "%d", i * 7919 % 10007);
		lines[i] = strdup(text);
	}
	qsort(lines, 10000, sizeof(lines[0]), compare);
	printf("%s %s %s\n", lines[0], lines[5000], lines[9999]);
	return 0;
}
END
# shellcheck disable=SC2086 # $CC may carry flags
same "the C compiler: compile, link, run" "${CC%% *}" sh -c "$CC -O2 -g work.c -o work && ./work && sha256sum work"
if command -v "${CXX%% *}" >/dev/null; then
	printf '#include <iostream>\n#include <map>\n#include <string>\n#include <regex>\nint main() { std::map<int, std::string> m; for (int i = 0; i < 1000; i++) m[i * 7 %% 1000] = std::to_string(i); std::cout << m[17] << std::regex_replace(m[18], std::regex("[0-9]"), "x") << std::endl; }\n' >work.cc
	same "the C++ compiler: compile, link, run" "${CXX%% *}" sh -c "$CXX -O1 work.cc -o work-cc && ./work-cc"
else
	skip "the C++ compiler" "none here"
fi

# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -w "$QUARRY_SOURCE/tests/preload/libc.c" -o libc -pthread || bail "can't compile libc.c"
same "the C library's own callers: locales, iconv, getaddrinfo, qsort, popen, wordexp" "${CC%% *}" ./libc
QUARRY_OPTIONS=guard=on same "the same in guard mode" "${CC%% *}" ./libc

seq 1 200000 | awk '{ print $1 * 7919 % 200003, "line", $1 }' >numbers
same "sort, with threads" sort sh -c 'sort -n --parallel=4 -S 2M numbers | sha256sum'
# shellcheck disable=SC2016 # awk's
same "awk" awk awk '{ count[$1 % 1000] = count[$1 % 1000] " " $3 } END { for (i = 0; i < 1000; i++) print length(count[i]) }' numbers
mkdir tree && (cd tree && split -l 500 ../numbers)
same "tar, gzip" tar sh -c 'tar -C tree --sort=name --mtime=2020-01-01 --owner=0 --group=0 -cf - . | gzip -n | sha256sum; tar -cf - tree | tar -tf - | wc -l'
same "find, xargs, grep, sed" find sh -c 'find tree -type f | sort | xargs -P 4 -n 20 grep -c 77 | sort | sed "s/^tree/there/" | head -n 100'

cat >work.bash <<'END'
declare -A seen
for i in {1..20000}; do seen[$((i * 31 % 5003))]+="x$i"; done
echo "${#seen[@]} ${#seen[17]}"
text=$(printf 'word%d ' {1..5000})
echo "${text//word/W}" | sha256sum
for i in {1..30}; do (echo "$i $(echo $((i * i)))"); done
coproc cat; echo hello >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"; eval "exec ${COPROC[1]}>&-"
wait_all() { for i in 1 2 3 4; do (sleep 0; exit $i) & done; wait; echo done; }
wait_all
END
same "bash: arrays, expansions, subshells, coprocesses" bash bash work.bash

cat >work.redis <<'END'
rm -f redis.sock dump.rdb
redis-server --port 0 --unixsocket "$PWD/redis.sock" --save "" --daemonize no --appendonly no --dir "$PWD" >redis.log 2>&1 &
server=$!
for i in $(seq 100); do redis-cli -s redis.sock ping >/dev/null 2>&1 && break; sleep 0.1; done
(for i in $(seq 20000); do echo "SET key:$i value:$i:$((i * i))"; done) | redis-cli -s redis.sock --pipe | tail -n 1
for i in $(seq 1 3 20000); do echo "DEL key:$i"; done | redis-cli -s redis.sock --pipe | tail -n 1
redis-cli -s redis.sock dbsize
redis-cli -s redis.sock get key:12344
redis-cli -s redis.sock eval 'local t = {} for i = 1, 5000 do t[i] = redis.call("get", "key:" .. (i * 3 - 1)) or "" end return #table.concat(t)' 0
redis-cli -s redis.sock save
redis-cli -s redis.sock flushall
redis-cli -s redis.sock shutdown nosave
wait $server
echo "ended: $?"
END
same "redis-server and redis-cli" redis-server sh work.redis
if [ -e redis.log ]; then
	is "$(grep -iE "quarry:|crash|signal" redis.log)" "" "redis-server's log has no complaint"
fi
done_testing
