"""The workloads of bench/compare, and their groups: one line each.

The list and its groups were fixed before Quarry was tuned on them, and every line counts once in its group's geometric
mean. A workload is added or taken out in a commit of its own that says why. The programs are bench/workloads/*.c; their
first lines say what they stress and where the pattern is known from. Counts of operations are chosen so that a run takes
about half a second (those with 10^7 and 10^8 blocks take what they need), the real programs' inputs for 2 seconds or more.
"""

from . import real
from .workload import Workload

GROUPS = {
    "small": "small blocks, one thread",
    "threads": "threads and processes",
    "large": "large blocks",
    "aging": "bursts and aging",
    "real": "real programs",
}

# Own programs: (name, program and arguments, what it is).
SMALL = [
    ("lifo-1e3", "order --lifo 1 --live 1000 --operations 30000000", "10^3 blocks of 16-256 bytes allocated, freed newest first, again and again"),
    ("lifo-1e5", "order --lifo 1 --live 100000", "the same with 10^5"),
    ("lifo-1e7", "order --lifo 1 --live 10000000 --max 64", "the same with 10^7, of 16-64 bytes"),
    ("fifo-1e3", "order --live 1000 --operations 30000000", "a queue: the oldest of 10^3 blocks is freed for each new one"),
    ("fifo-1e5", "order --live 100000", "the same with 10^5"),
    ("fifo-1e7", "order --live 10000000 --max 64", "the same with 10^7, of 16-64 bytes"),
    ("replace-1e3", "replace --live 1000 --operations 40000000", "replace at random, 10^3 blocks of 32-256 bytes live"),
    ("replace-1e4", "replace --live 10000", "the same with 10^4"),
    ("replace-1e5", "replace --live 100000 --operations 6000000", "the same with 10^5"),
    ("replace-1e6", "replace --live 1000000 --operations 3000000", "the same with 10^6"),
    ("replace-1e7", "replace --live 10000000 --operations 2000000", "the same with 10^7"),
    ("replace-1e8", "replace --live 100000000 --min 8 --max 32 --operations 4000000", "10^8 blocks of 8-32 bytes"),
    ("list-in-order", "binary --order 0 --rounds 24", "linked list of 10^6 nodes: built, then freed in the order it was built"),
    ("list-reverse", "binary --order 1 --rounds 24", "freed in the reverse order"),
    ("list-random", "binary --order 2 --rounds 6", "freed at random"),
    ("tree-in-order", "binary --tree 1 --order 0 --rounds 8", "binary tree with names, two blocks a node: the same"),
    ("tree-reverse", "binary --tree 1 --order 1 --rounds 8", "in reverse"),
    ("tree-random", "binary --tree 1 --order 2", "at random"),
    ("hash-in-order", "hash --order 0", "hash table with chains and string keys that grows to 5*10^5 entries: the same"),
    ("hash-reverse", "hash --order 1", "in reverse"),
    ("hash-random", "hash --order 2", "at random"),
    ("bignum", "bignum", "big-number arithmetic: short-lived limbs of 8 bytes to 4 KiB"),
    ("strings", "strings", "split, join, replace and append on short strings"),
    ("vectors", "vectors", "10^3 vectors that grow by realloc, by half and by doubling, 16 bytes to 64 KiB"),
]

THREADS = [
    ("larson-2", "larson --threads 2 --operations 160000", "server: two chains of threads that end and hand their blocks to the next"),
    ("larson-16", "larson --threads 16 --operations 10000", "the same with 16 chains"),
    ("prodcons-1-1", "prodcons", "one producer, one consumer, 100 MB live at most"),
    ("prodcons-8-1", "prodcons --producers 8", "eight producers, one consumer"),
    ("prodcons-1-8", "prodcons --consumers 8", "one producer, eight consumers"),
    ("prodcons-ring", "prodcons --ring 4", "four threads in a ring, each frees what another allocated"),
    ("remote-random", "remote", "each of two threads frees the other's blocks, in random order"),
    ("sharing-active", "sharing", "false sharing made by malloc: two threads write to small blocks of their own"),
    ("sharing-passive", "sharing --passive 1", "false sharing kept by free: the blocks were made by one thread"),
    ("scale-1", "scale --threads 1", "one thread replaces at random in a set of its own"),
    ("scale-2", "scale --threads 2", "the same work by 2 threads"),
    ("scale-16", "scale --threads 16", "by 16"),
    ("scale-64", "scale --threads 64", "by 64"),
    ("scale-256", "scale --threads 256", "by 256, on any number of processors"),
    ("short-processes", "startup --processes 500", "fork, exec and wait for a tiny program, 500 times"),
]

LARGE = [
    ("midlarge-64K-1M", "midlarge --min 65536 --max 1048576 --operations 40000", "churn of 64 KiB - 1 MiB, every page written"),
    ("midlarge-5-25M", "midlarge --min 5242880 --max 26214400 --operations 600", "churn of 5 - 25 MiB, every page written"),
    ("midlarge-first", "midlarge --min 65536 --max 26214400 --every-page 0 --operations 200000", "64 KiB - 25 MiB, only the first page written"),
    ("huge-calloc", "hugecalloc", "calloc of 16 MiB - 1 GiB, one page in 64 touched"),
    ("huge-realloc", "hugerealloc", "16 blocks that grow from 64 KiB to 64 MiB in turn, and one to 1 GiB, all written"),
    ("touch-9000", "touch --blocks 1000 --bytes 9000", "first line of 1,000 live blocks of 9,000 bytes in turn"),
    ("touch-20000", "touch --blocks 1000 --bytes 20000", "1,000 of 20,000"),
    ("touch-40000", "touch --blocks 1000 --bytes 40000", "1,000 of 40,000"),
]

AGING = [
    ("burst", "burst", "bursts of 50 MB in small blocks that are all freed, a little work between"),
    ("burst-kept", "burst --keep 20", "the same, one block in twenty outlives its burst"),
    ("burst-threads", "burst --threads 8", "eight threads, a burst each in turn"),
    ("server-exponential", "server --tail 0", "an aging server: exponential lifetimes, sizes that drift by phase"),
    ("server-long-tail", "server --tail 1", "the same with long-tailed lifetimes"),
    ("cache", "cache", "an LRU cache of 64 MB with values of 32 bytes to 64 KiB, and requests around it"),
    ("generations", "generations", "a compiler's phases: each builds its own structures and frees the last one's"),
]


def workloads():
    own = [Workload(name, about, group, command.split(), own=True)
           for group, rows in (("small", SMALL), ("threads", THREADS), ("large", LARGE), ("aging", AGING))
           for name, command, about in rows]
    return own + real.workloads()
