"""Deterministic inputs of the real programs, made in a temporary folder before the first run."""

import os
import random
import subprocess

from .errors import BenchError


def run_quietly(command, **how):
    done = subprocess.run(command, capture_output=True, **how)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BenchError(f"cannot prepare an input: {command[0]}: {said[-1] if said else done.returncode}")


def c_function(generator, number):
    """One function with loops, a switch and calls of earlier ones, for a compiler to chew on."""
    lines = [f"static int f{number}(struct s *p, int a, int b)", "{", "\tint x = a, y = b;"]
    for n in range(generator.randrange(4, 10)):
        kind = generator.randrange(4)
        c, d = generator.randrange(1, 999), generator.randrange(8)
        if kind == 0:
            lines.append(f"\tfor (int i = 0; i < (x & 31); i++) p->v[(i + {d}) & 7] += y * {c} + i;")
        elif kind == 1:
            cases = " ".join(f"case {k}: y += x * {generator.randrange(99)}; break;" for k in range(6))
            lines.append(f"\tswitch ((x ^ {c}) % 7) {{ {cases} default: x -= y; }}")
        elif kind == 2 and number:
            lines.append(f"\tif (x > {c}) y ^= f{generator.randrange(max(0, number - 50), number)}(p, y, x + {d});")
        else:
            lines.append(f"\tx = (x << {d}) ^ (y >> {n & 7}) ^ p->v[{d}]; p->text = x & 1 ? \"{c}-{number}\" : p->text;")
    return "\n".join(lines + ["\treturn x - y;", "}"])


def preprocessed_c(folder, functions=180):
    """A preprocessed C file of many functions; returns its path."""
    generator = random.Random(1)
    source, result = os.path.join(folder, "large.c"), os.path.join(folder, "large.i")
    with open(source, "w") as file:
        file.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
        file.write("struct s { int v[8]; const char *text; };\n")
        file.write("\n".join(c_function(generator, n) for n in range(functions)))
        file.write("\nint (*const all[])(struct s *, int, int) = {")
        file.write(", ".join(f"f{n}" for n in range(functions)) + "};\n")
    run_quietly(["gcc", "-E", "-o", result, source])
    return result


# Nobody's configuration, so that every machine does the same work.
GIT_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def git_repository(folder, commits=200, files=60, lines=300):
    """A bare repository whose files change a little with each commit; returns its path."""
    generator = random.Random(1)
    path = os.path.join(folder, "repository.git")
    line = lambda: " ".join(generator.choices(("block", "span", "page", "free", "live", "ledger", "slab"), k=8))
    texts = [[f"{line()} {n}" for n in range(lines)] for _ in range(files)]
    stream = []
    for commit in range(commits):
        stream.append(f"commit refs/heads/main\ncommitter Q <q@example.org> {1700000000 + commit} +0000\ndata 1\nc\n")
        for number in generator.sample(range(files), files if commit == 0 else 12):
            for _ in range(5):
                texts[number][generator.randrange(lines)] = f"{line()} {commit}"
            text = "\n".join(texts[number]) + "\n"
            stream.append(f"M 100644 inline src/{number}.txt\ndata {len(text)}\n{text}\n")
    environment = dict(os.environ, **GIT_ENVIRONMENT)
    run_quietly(["git", "init", "--quiet", "--bare", "--initial-branch=main", path], env=environment)
    run_quietly(["git", "-C", path, "fast-import", "--quiet"], env=environment, input="".join(stream).encode())
    return path
