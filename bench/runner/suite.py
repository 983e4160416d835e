"""The named workloads of bench/run --suite: own programs by case, and real programs on inputs made here."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import inputs
from .errors import BenchError
from .programs import HERE


@dataclass
class Workload:
    name: str
    about: str
    command: list  # or a function of the temporary folder that makes the input and returns the command
    needs: tuple = ()  # programs that must be installed
    own: bool = False  # the command's first word names a bench/*.c
    environment: dict = field(default_factory=dict)
    brings_allocator: bool = False  # the program is linked with another allocator than the C library's
    companion: object = None  # called while the command runs: companion(folder, process, seconds)

    def missing(self):
        """The programs that this workload needs and that are not installed."""
        return [name for name in self.needs if not shutil.which(name)]


def script(name):
    return os.path.join(HERE, "scripts", name)


# Own programs: (name, program and arguments, what it is).
PROGRAMS = [
    ("replace-1e3", "replace --live 1000 --operations 100000000", "replace at random, 10^3 blocks of 32-256 bytes live"),
    ("replace-1e4", "replace --live 10000 --operations 60000000", "the same with 10^4"),
    ("replace-1e5", "replace --live 100000 --operations 20000000", "the same with 10^5"),
    ("replace-1e6", "replace --live 1000000 --operations 10000000", "the same with 10^6"),
    ("replace-1e7", "replace --live 10000000 --operations 5000000", "the same with 10^7 (1.5 GB)"),
    ("larson", "larson", "two chains of threads that hand their blocks on"),
    ("prodcons-1-1", "prodcons", "one producer, one consumer, 64 MB live at most"),
    ("prodcons-8-1", "prodcons --producers 8", "eight producers, one consumer"),
    ("prodcons-1-8", "prodcons --consumers 8", "one producer, eight consumers"),
    ("prodcons-ring", "prodcons --ring 4", "four threads in a ring, each frees what another allocated"),
    ("midlarge-touch", "midlarge", "churn of 64 KiB - 25 MiB blocks, every page written"),
    ("midlarge-first", "midlarge --every-page 0 --operations 500000", "the same, first page written"),
    ("touch-300x9000", "touch --blocks 300 --bytes 9000", "first line of 300 live blocks of 9,000 bytes in turn"),
    ("touch-300x20000", "touch --blocks 300 --bytes 20000", "300 of 20,000"),
    ("touch-300x40000", "touch --blocks 300 --bytes 40000", "300 of 40,000"),
    ("touch-1000x9000", "touch --blocks 1000 --bytes 9000", "1,000 of 9,000"),
    ("touch-1000x20000", "touch --blocks 1000 --bytes 20000", "1,000 of 20,000"),
    ("touch-1000x40000", "touch --blocks 1000 --bytes 40000", "1,000 of 40,000"),
    ("threads", "threads", "memory of 1,000 sleeping threads that used ten sizes a little"),
    ("vmas", "vmas", "growing reallocs of large blocks: time per MiB, mappings left"),
    ("list", "binary --rounds 8", "linked list: ns per node of building, and of freeing in three orders"),
    ("tree", "binary --tree 1 --rounds 5", "binary tree with names (two blocks a node): the same"),
    ("startup", "startup", "fork, exec and wait for /bin/true"),
]


def cc1_command(folder):
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True).stdout.strip()
    return [cc1, "-quiet", "-fpreprocessed", "-O2", inputs.preprocessed_c(folder), "-o", "/dev/null"]


def git_command(folder):
    return ["git", "-C", inputs.git_repository(folder), "-c", "pack.threads=1", "repack", "-adfq", "--window=30"]


def redis_command(folder):
    return ["redis-server", "--port", "0", "--unixsocket", redis_socket(folder), "--dir", folder, "--save", "",
            "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]


def redis_socket(folder):
    return os.path.join(folder, "redis.sock")


def redis_load(folder, process, seconds):
    """Loads the server that starts up on the socket, then stops it."""
    end = time.monotonic() + seconds
    while not os.path.exists(redis_socket(folder)):
        if process.poll() is not None:
            return  # it has ended already; its status tells why
        if time.monotonic() > end:
            raise BenchError("redis-server opened no socket")
        time.sleep(0.01)
    client = ["-s", redis_socket(folder)]
    for command in (["redis-benchmark", *client, "-q", "-n", "200000", "-c", "20", "-P", "8", "-r", "100000", "-d", "200",
                     "-t", "set,get,lpush,rpop,sadd,hset,zadd"],
                    ["redis-cli", *client, "shutdown", "nosave"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1, end - time.monotonic()))
        if done.returncode:
            raise BenchError(f"{command[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


# The interpreter itself: a python3 found by name may be a script that looks for one.
PYTHON = [sys.executable, "-s", script("objects.py")]

REAL = [
    Workload("python", "Python: JSON, dicts, strings; small objects in its own pools", PYTHON,
             environment={"PYTHONHASHSEED": "0"}),
    Workload("python-malloc", "the same with every object from malloc", PYTHON,
             environment={"PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}),
    Workload("perl", "Perl: hashes of arrays, strings", ["perl", script("words.pl")], ("perl",),
             environment={"PERL_HASH_SEED": "0"}),
    Workload("sqlite", "SQLite in memory: 300,000 inserts, two indexes, queries",
             ["sqlite3", "-batch", ":memory:", f".read '{script('queries.sql')}'"], ("sqlite3",)),
    Workload("cc1", "GCC's compiler proper on a preprocessed file", cc1_command, ("gcc",)),
    Workload("git", "git repack of a generated repository", git_command, ("git",),
             environment=inputs.GIT_ENVIRONMENT),
    Workload("redis", "redis-server under redis-benchmark (not quite deterministic)", redis_command,
             ("redis-server", "redis-benchmark", "redis-cli"), brings_allocator=True, companion=redis_load),
]


def workloads():
    return [Workload(name, about, command.split(), own=True) for name, command, about in PROGRAMS] + REAL
