#!/usr/bin/env bash
# Sampling under preload: one allocation in N is guarded, of every size, thread and process, also where a loop never leaves
# its magazine; mistakes are found within a bounded number of rounds; the pool has room whatever stays in it; programs
# without mistakes see nothing of it; without it nothing is there.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
cd "$scratch" || bail "no scratch directory"
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/guard/sample.c" -o sample -pthread ||
	bail "can't compile sample.c"

# with OPTIONS WHAT: what the program says, and on which status it ended if not 0.
with() {
	local status=0
	timeout 300 env QUARRY_OPTIONS="$1" LD_PRELOAD="$QUARRY_SO" ./sample "$2" 2>&1 || status=$?
	[ "$status" = 0 ] || echo "status $status"
}

# ---- How many

is "$(with sample=100 sizes)" "" "the rate of each size, in a loop with one live block"
is "$(with sample=100 shares)" "" "each size class has its share"
is "$(with sample=100 calls)" "" "calloc, realloc, memalign and the like count"
is "$(with sample=100 threads)" "" "long and short threads"
is "$(with sample=100 forks)" "" "children sample at the same rate, and other blocks"
is "$(with sample=100 long_lived)" "" "blocks that stay don't keep others out"
is "$(with sample=100,guard_with=protection sizes)" "" "the same by page protection"
is "$(with sample=1 churn)" "" "every block"
is "$(with sample=20 sandboxed)" "" "in a sandbox that kills for what is not on a short list"
is "$(with sample=10,guard_with=checks churn)" "" "without guards"
is "$(with sample=10,guard_quarantine=0 churn)" "" "without a quarantine"

# ---- Mistakes

for mistake in use_after_free:"use after free":139 overflow:"overflow":139 underwrite:"bytes in front of the block":134 \
	interior_free:"inside of a block":134; do
	IFS=: read -r name words status <<<"$mistake"
	like "$(with sample=100 "$name")" "quarry: .*$words.*allocated.*status $status" "$name is found within 2,000 rounds"
	is "$(with sample=0 "$name")" "" "and not without sampling"
done

# ---- What it costs

off=$(with sample=0 memory)
on=$(with sample=20 memory)
ok "memory: $off KiB without, $on with it, at most 32 MiB more" test "$((on - off))" -le 32768
is "$(with sample=0 quiet)" "$(./sample quiet)" "off, no signal has a handler"
unlike "$(with sample=100 quiet)" "^$(./sample quiet)$" "on, it has"
is "$(with guard=on,sample=100 quiet)" "$(with guard=on quiet)" "guard=on goes before"
# mappings OPTIONS: how many a program has
mappings() {
	QUARRY_OPTIONS=$1 LD_PRELOAD=$QUARRY_SO cat /proc/self/maps | wc -l
}
ok "off, nothing of it is mapped" test "$(mappings sample=0)" -lt "$(mappings sample=100)"

# ---- Good programs

# same WHAT COMMAND: the same output, and status, with and without.
same() {
	same_with sample=50 "$@"
}

if command -v python3 >/dev/null; then
	same python3 env PYTHONMALLOC=malloc python3 -c '
import json, threading
def work():
    things = [{"key%d" % i: list(range(i % 20))} for i in range(20000)]
    return len(json.dumps(things))
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(work())'
else
	skip python3 "not installed"
fi
for i in {1..300}; do
	echo "struct s$i { int a[$i]; struct s$i *next; }; int f$i(struct s$i *s) { int t = 0; for (; s; s = s->next) t += s->a[$i / 2]; return t; }"
done >many.c
# shellcheck disable=SC2086
same "the C compiler" $CC -O2 -S -o - many.c
if command -v sqlite3 >/dev/null; then
	same sqlite3 sqlite3 :memory: "create table t(a integer primary key, b text);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000)
		insert into t select i, hex(i * 7919) || i from n;
		create index tb on t(b); select count(*), sum(length(b)), max(b) from t where b > '3';"
else
	skip sqlite3 "not installed"
fi
if command -v redis-server >/dev/null && command -v redis-cli >/dev/null; then
	QUARRY_OPTIONS=sample=50 LD_PRELOAD=$QUARRY_SO timeout 300 redis-server --port 0 --unixsocket "$scratch/redis" \
		--save '' >redis.log 2>redis.errors &
	server=$!
	for _ in {1..100}; do
		[ -S redis ] && break
		sleep 0.1
	done
	for i in {1..20000}; do
		echo "set key$((i % 3000)) value$i$i$i"
		echo "lpush list$((i % 50)) $i"
		echo "hset hash$((i % 70)) field$i $i"
	done | redis-cli -s "$scratch/redis" >/dev/null
	is "$(redis-cli -s "$scratch/redis" dbsize)" 3120 "redis-server"
	redis-cli -s "$scratch/redis" shutdown nosave >/dev/null 2>&1
	wait "$server"
	is "$? $(cat redis.errors)" "0 " "and its end"
else
	skip redis-server "not installed"
fi
done_testing
