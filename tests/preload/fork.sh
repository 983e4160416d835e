#!/usr/bin/env bash
# fork while other threads allocate: from main, from several threads at once, with handlers that allocate themselves,
# vfork, posix_spawn, clone; under preload.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/preload
unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
compile() { $CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$@" -pthread; }
compile "$folder/fork.c" -o "$scratch/fork" || bail "can't compile fork.c"
compile -fPIC -shared "$folder/atfork_early.c" -o "$scratch/early.so" || bail "can't compile atfork_early.c"

run() {
	timeout 300 env LD_PRELOAD="$1" "$scratch/fork" "$2" 2>&1
}
is "$(run "$QUARRY_SO" first)" good "a child whose thread never allocated before"
is "$(run "$QUARRY_SO" main)" good "main forks while others allocate"
is "$(run "$QUARRY_SO" threads)" good "four threads fork at once while others allocate"
is "$(run "$QUARRY_SO" handlers)" good "handlers that allocate, registered after Quarry's"
is "$(run "$scratch/early.so:$QUARRY_SO" handlers)" good "handlers on both sides, of a library preloaded before"
is "$(run "$QUARRY_SO:$scratch/early.so" threads)" good "handlers of a library preloaded after"
is "$(run "$QUARRY_SO" exit)" good "a child that ends by pthread_exit"
is "$(run "$QUARRY_SO" vfork)" good "vfork, allocating, and exec"
is "$(run "$QUARRY_SO" clone)" good "clone with CLONE_VM: the child allocates while the thread that made it waits"
is "$(run "$QUARRY_SO" spawn)" good "posix_spawn"
done_testing
