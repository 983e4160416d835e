"""The real programs, each on a deterministic input that is made in a temporary folder before the first run.

    python          JSON, dicts, strings; small objects in its own pools
    python-malloc   the same with every object from malloc
    ruby            objects, strings and hashes
    lua             lua5.4: tables, strings, closures
    perl            hashes of arrays, strings
    node            nodejs: buffers, maps, JSON; its heap is V8's own, the rest malloc's
    sqlite          a database in memory: inserts, two indexes, queries
    redis           redis-server under redis-benchmark (Debian's is linked with jemalloc)
    memcached       memcached under a load of sets and gets of mixed sizes
    cc1             GCC's compiler proper on a large preprocessed file
    clang           clang on the same file
    z3              a solver on a generated problem
    ghostscript     a generated PostScript document rendered to a bitmap
    git             repack of a generated repository
    php             arrays and strings, USE_ZEND_ALLOC=0: every block from malloc

The programs print a checksum, which is the same under every allocator; redis-benchmark draws its keys anew each time.
suite.py asks for the list.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import time

from . import inputs
from .errors import BenchError
from .programs import HERE
from .workload import Workload

NO_HOME = {"HOME": "/nonexistent"}  # and so no configuration of the user's
CACHE_CONNECTIONS = 400
CACHE_ROUNDS = 10
CACHE_AT_ONCE = 16  # connections with a chunk under way


def script(name):
    return os.path.join(HERE, "scripts", name)


def program(name):
    """The system's own: what is found by name first may be a script that looks for a version of the program."""
    path = os.path.join("/usr/bin", name)
    return path if os.access(path, os.X_OK) else name


def python():
    path = program("python3")
    return path if os.path.isabs(path) else sys.executable


def cc1_command(folder):
    asked = subprocess.run([program("gcc"), "-print-prog-name=cc1"], capture_output=True, text=True)
    return [asked.stdout.strip(), "-quiet", "-fpreprocessed", "-O2", "-w", inputs.preprocessed_c(folder),
            "-o", "/dev/null"]


def clang_command(folder):
    # In one process: the driver calls the compiler rather than starting it.
    return [program("clang"), "-fintegrated-cc1", "-O2", "-w", "-c", inputs.preprocessed_c(folder),
            "-o", os.path.join(folder, "large.o")]


def git_command(folder):
    return [program("git"), "-C", inputs.git_repository(folder, program("git")), "-c", "pack.threads=1",
            "repack", "-adfq", "--window=30"]


def z3_command(folder):
    return [program("z3"), "-smt2", "smt.threads=1", inputs.smt_problems(folder)]


def ghostscript_command(folder):
    return [program("gs"), "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=ppmraw", "-r150",
            "-sOutputFile=/dev/null", inputs.postscript_document(folder)]


def server_socket(folder):
    return os.path.join(folder, "socket")


def connect(folder, process, end):
    """A connection to the server that starts up, or None where it has ended already: its status tells why."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(max(1, end - time.monotonic()))
        try:
            connection.connect(server_socket(folder))
            return connection
        except OSError:  # not yet there, or not yet listening
            connection.close()
        if process.poll() is not None:
            return None
        if time.monotonic() > end:
            raise BenchError("the server does not listen")
        time.sleep(0.005)


def has_ended(process):
    """Whether a server that broke its connections did so by ending; its status tells why then."""
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return False
    return True


def redis_command(folder):
    return [program("redis-server"), "--port", "0", "--unixsocket", server_socket(folder), "--dir", folder,
            "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]


def redis_load(folder, process, seconds):
    """Loads the server that starts up, then stops it. Pipelines are long, so that most of the work is the server's."""
    end = time.monotonic() + seconds
    connection = connect(folder, process, end)
    if not connection:
        return
    connection.close()
    client = ["-s", server_socket(folder)]
    load = [program("redis-benchmark"), *client, "-q", "-c", "50", "-P", "64", "-r", "100000"]
    for command in ([*load, "-n", "350000", "-d", "200", "-t", "set,get,lpush,rpop,sadd,hset,zadd"],
                    [*load, "-n", "100000", "-d", "2000", "-t", "set"],
                    [program("redis-cli"), *client, "shutdown", "nosave"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1, end - time.monotonic()))
        if done.returncode:
            if has_ended(process):
                return
            said = (done.stderr or done.stdout).strip().splitlines()
            raise BenchError(f"{os.path.basename(command[0])}: {said[-1] if said else done.returncode}")


def memcached_command(folder):
    inputs.cache_requests(folder)
    user = [] if os.geteuid() else ["-u", "root"]  # root has to say that it means to stay root
    return [program("memcached"), "-s", server_socket(folder), "-A", "-m", "256", *user]


def memcached_load(folder, process, seconds):
    """Sends the requests that were prepared, in rounds with new connections, then stops the server."""
    end = time.monotonic() + seconds
    with open(os.path.join(folder, "requests"), "rb") as file:
        chunks = [chunk + inputs.CACHE_END for chunk in file.read().split(inputs.CACHE_END)[:-1]]
    try:
        for _ in range(CACHE_ROUNDS):
            if not send_round(folder, process, chunks, end):
                return
        last = connect(folder, process, end)
        if last:
            with last:
                last.sendall(b"shutdown\r\n")
    except OSError as error:
        # A server that has died leaves its status; the caller waits for it.
        if time.monotonic() > end:
            raise BenchError(f"memcached does not answer: {error}") from None


def send_round(folder, process, chunks, end):
    """Sends each chunk once, some at a time, and reads the answers. False when the server has ended."""
    with contextlib.ExitStack() as open_ones:
        connections = []
        for _ in range(CACHE_CONNECTIONS):
            connection = connect(folder, process, end)
            if not connection:
                return False
            connections.append(open_ones.enter_context(connection))
        for first in range(0, len(chunks), CACHE_AT_ONCE):
            served = []
            for number in range(first, min(first + CACHE_AT_ONCE, len(chunks))):
                served.append(connections[number % CACHE_CONNECTIONS])
                served[-1].sendall(chunks[number])
            await_answers(served, end)
    return True


def await_answers(connections, end):
    """Reads from all these until each has answered CACHE_END."""
    room, size = bytearray(1 << 18), len(inputs.CACHE_ANSWER)
    waiting = {connection: b"" for connection in connections}
    while waiting:
        ready = select.select(list(waiting), [], [], max(0, end - time.monotonic()))[0]
        if not ready:
            raise TimeoutError("no answer")
        for connection in ready:
            count = connection.recv_into(room)
            if not count:
                raise ConnectionResetError("the server closed a connection")
            tail = (waiting[connection] + room[max(0, count - size):count])[-size:]
            waiting[connection] = tail
            if tail == inputs.CACHE_ANSWER:
                del waiting[connection]


def row(name, about, command, needs, **more):
    """needs: the programs by name; a command that is a list starts with the first of them."""
    paths = tuple(map(program, needs))
    return Workload(name, about, "real", command if callable(command) else [paths[0], *command], paths, **more)


def workloads():
    objects = [python(), "-s", script("objects.py")]
    hashes = {"PYTHONHASHSEED": "0"}
    return [
        Workload("python", "Python: JSON, dicts, strings; small objects in its own pools", "real", objects,
                 environment=hashes),
        Workload("python-malloc", "the same with every object from malloc", "real", objects,
                 environment={**hashes, "PYTHONMALLOC": "malloc"}),
        row("ruby", "Ruby: objects, strings, hashes, JSON", ["--disable=gems,jit", script("orders.rb")], ("ruby",),
            environment={"RUBYOPT": "", "RUBYLIB": ""}),
        row("lua", "Lua: tables, strings, closures", [script("trees.lua")], ("lua5.4",),
            environment={"LUA_INIT": "", "LUA_INIT_5_4": ""}),
        row("perl", "Perl: hashes of arrays, strings", [script("words.pl")], ("perl",),
            environment={"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"}),
        row("node", "Node: buffers, maps, JSON; its heap is V8's own, the rest malloc's",
            ["--single-threaded", "--hash-seed=1", script("buffers.js")], ("node",),
            environment={**NO_HOME, "NODE_OPTIONS": "", "UV_THREADPOOL_SIZE": "1"}),
        row("sqlite", "SQLite in memory: 600,000 inserts, two indexes, queries",
            ["-init", "/dev/null", "-batch", ":memory:", f".read '{script('queries.sql')}'"], ("sqlite3",)),
        row("redis", "redis-server under redis-benchmark (not quite deterministic)", redis_command,
            ("redis-server", "redis-benchmark", "redis-cli"), brings_allocator="jemalloc", companion=redis_load),
        row("memcached", "memcached: sets and gets of 16 bytes to 16 KiB, 400 connections at a time", memcached_command,
            ("memcached",), companion=memcached_load),
        row("cc1", "GCC's compiler proper on a large preprocessed file", cc1_command, ("gcc",)),
        row("clang", "clang on the same file, in one process", clang_command, ("clang",), environment=NO_HOME),
        row("z3", "Z3: schedules and equations over bit vectors", z3_command, ("z3",), environment=NO_HOME),
        row("ghostscript", "Ghostscript: text, images and paths to a bitmap", ghostscript_command, ("gs",),
            environment={"GS_OPTIONS": "", "GS_LIB": ""}),
        row("git", "git repack of a generated repository", git_command, ("git",), environment=inputs.GIT_ENVIRONMENT),
        row("php", "PHP: arrays, strings, objects, JSON; every block from malloc",
            ["-n", "-d", "memory_limit=-1", script("arrays.php")], ("php",),
            environment={"USE_ZEND_ALLOC": "0", "USE_TRACKED_ALLOC": "0"}),
    ]
