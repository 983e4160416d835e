#!/usr/bin/env bash
# Guard mode raises no false alarm: real programs say what they say without it, a server serves, and random calls of all
# kinds (fuzz.c) find what malloc promises.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/guard
unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$folder/fuzz.c" -o "$scratch/fuzz" -pthread || bail "can't compile fuzz.c"
cd "$scratch" || bail "no scratch directory"

for options in "" ,guard_align=1 ,guard_place=before ,guard_place=random ,guard_with=protection ,guard_with=checks \
               ,guard_quarantine=1M ,guard_every=3 ,guard_sizes=100-5000; do
	is "$(QUARRY_OPTIONS="guard=on$options" LD_PRELOAD="$QUARRY_SO" timeout 300 ./fuzz 1 5000 2>&1)" good \
	   "random calls${options:+ (${options#,})}"
done
is "$(QUARRY_OPTIONS="guard=on" LD_PRELOAD="$QUARRY_SO" timeout 300 ./fuzz 2 3000 4 2>&1)" good "random calls in four threads"

# same NAME COMMAND...: standard output, standard error and status, without guard mode and with it. Pools are off, as
# `quarry run --guard` has it.
export PYTHONMALLOC=malloc PYTHONHASHSEED=0 GLIBCXX_FORCE_NEW=1 G_SLICE=always-malloc USE_ZEND_ALLOC=0 LC_ALL=C
same() {
	same_with guard=on "$@"
}

cat >program.py <<-'END'
	import collections, json, re, zlib
	words = [f"{i * 7919 % 10007:x}" for i in range(10000)]
	tree = collections.defaultdict(list)
	for word in words:
	    tree[word[:2]].append({"word": word, "length": len(word)})
	text = json.dumps(tree, sort_keys=True)
	print(len(text), zlib.crc32(text.encode()), sum(len(re.findall("a+", word)) for word in words))
END
cat >program.pl <<-'END'
	my %count; $count{join "", sort split //, $_ * 7919 % 10007}++ for 1 .. 8000;
	print join(",", map { "$_=$count{$_}" } (sort keys %count)[0 .. 20]), "\n";
END
cat >program.rb <<-'END'
	counts = Hash.new(0)
	5000.times { |i| counts[(i * 7919 % 10007).to_s.chars.sort.join] += 1 }
	puts counts.sort.first(20).inspect, counts.size
END
cat >program.js <<-'END'
	const counts = new Map();
	for (let i = 0; i < 5000; i++) { const k = String(i * 7919 % 10007); counts.set(k, (counts.get(k) || 0) + 1); }
	const b = []; for (let i = 0; i < 500; i++) b.push(Buffer.alloc(1000, i));
	console.log(counts.size, b.reduce((s, x) => s + x[5], 0));
END
{
	echo '#include <stdio.h>'
	for i in {1..150}; do echo "int f$i(int a, char *b) { for (int i = 0; i < a; i++) b[i] += $i * i; return a > $i ? b[$i] : puts(b); }"; done
} >program.c
printf '#include <map>\n#include <string>\n#include <vector>\nstd::map<std::string, std::vector<int>> m;\nint main() { m["a"].push_back(1); return m.size(); }\n' >program.cc
{
	echo "create table t(a integer primary key, b text, c real); begin;"
	for i in {1..3000}; do echo "insert into t values($i, '$((i * 7919 % 10007)) text', $i.5);"; done
	echo "commit; create index i on t(b); select b, count(*), sum(c) from t group by substr(b, 1, 2) order by 1 limit 20; delete from t where a % 3 = 0; vacuum; select count(*) from t;"
} >program.sql

same python3 python3 program.py
same perl perl program.pl
same ruby ruby --disable-gems program.rb
same node node program.js
same php php -r '$a = []; for ($i = 0; $i < 5000; $i++) $a["k" . $i * 7919 % 10007][] = str_repeat("x", $i % 100); ksort($a); echo count($a), md5(serialize($a)), "\n";'
same sqlite3 sqlite3 -batch :memory: ".read program.sql"
same gcc gcc -O2 -S -o - program.c
same g++ g++ -O1 -S -o - program.cc
same clang clang -O2 -S -o - program.c

if command -v git >/dev/null; then
	git init -q repository && for i in 1 2 3 4 5; do
		for file in a b c; do seq "$i" "$((i * 100))" >"repository/$file$i"; done
		git -C repository add . && git -C repository -c user.name=n -c user.email=e@x -c commit.gpgsign=false commit -qm "commit $i"
	done
	same "git log" git -C repository log --stat -p
	same "git status" git -C repository status
	same "git repack" git -C repository repack -qadf --threads=2
	same "git fsck" git -C repository fsck --full --no-progress
else
	skip git "no git"
fi

# ---- A server

if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
	QUARRY_OPTIONS=guard=on,guard_quarantine=256M LD_PRELOAD=$QUARRY_SO redis-server --port 0 --unixsocket "$scratch/socket" --save "" --appendonly no \
		--daemonize no --dir "$scratch" >redis.log 2>&1 &
	server=$!
	for ((i = 0; i < 300; i++)); do
		redis-cli -s "$scratch/socket" ping >/dev/null 2>&1 && break
		sleep 0.1
	done
	timeout 240 redis-benchmark -s "$scratch/socket" -q -n 2000 -r 1000 -d 100 -t set,get,incr,lpush,lpop,sadd,hset,zadd,lrange_100,mset \
		>benchmark.log 2>&1
	is "$?" 0 "redis-benchmark"
	like "$(redis-cli -s "$scratch/socket" dbsize 2>&1)" "^[0-9]+$" "redis-server answers still"
	redis-cli -s "$scratch/socket" shutdown nosave >/dev/null 2>&1
	wait "$server"
	is "$?" 0 "redis-server ends well"
	unlike "$(<redis.log)" "quarry: [^g]" "and not a word"
else
	skip "redis-server" "not installed"
fi
done_testing
