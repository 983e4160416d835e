"""Deterministic inputs of the real programs, made in a temporary folder before the first run.

Each depends on nothing but the generator's seed: no header, font or configuration of the machine goes into it."""

import os
import random
import subprocess

from .errors import BenchError


def run_quietly(command, **how):
    done = subprocess.run(command, capture_output=True, **how)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BenchError(f"cannot prepare an input: {command[0]}: {said[-1] if said else done.returncode}")


def written(folder, name, parts):
    """Writes the parts, texts or bytes, one after the other; returns the file's path."""
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else part.encode())
    return path


# The compilers' file

C_OPENING = """# 1 "large.c"
typedef unsigned long size_t;
extern void *malloc(size_t);
extern void free(void *);
extern int printf(const char *, ...);
struct s { int v[8]; const char *text; };
"""


def c_declarations(generator, number):
    """What headers bring: a type of its own, prototypes, a table, and a small inline function that few call."""
    fields = " ".join(f"{generator.choice(('int', 'long', 'char *', 'struct s', 'double'))} field_{number}_{n};"
                      for n in range(generator.randrange(3, 16)))
    prototypes = [f"extern int other_{number}_{n}(struct t{number} *, const char *, size_t) __attribute__((nothrow));"
                  for n in range(12)]
    table = ", ".join(f'{{{generator.randrange(10 ** 6)}, "entry {number} {n}"}}' for n in range(20))
    return "\n".join([f"struct t{number} {{ {fields} struct t{number} *next; }};",
                      f"enum e{number} {{ {', '.join(f'CODE_{number}_{n}' for n in range(20))} }};", *prototypes,
                      f"static const struct {{ int key; const char *text; }} table{number}[] = {{ {table} }};",
                      f"static inline struct t{number} *last{number}(struct t{number} *p)",
                      "{", "\twhile (p && p->next)", "\t\tp = p->next;", "\treturn p;", "}"])


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
            lines.append(f"\tx = (x << {d}) ^ (y >> {n & 7}) ^ p->v[{d}];")
            lines.append(f"\tp->text = x & 1 ? table{number}[{d}].text : p->text;")
    return "\n".join(lines + ["\treturn x - y;", "}"])


def preprocessed_c(folder, functions=170, declarations=1200):
    """A preprocessed C file of many declarations and functions; returns its path."""
    generator = random.Random(1)
    parts = [C_OPENING]
    for number in range(declarations):
        parts.append(c_declarations(generator, number) + "\n")
        if number < functions:
            parts.append(c_function(generator, number) + "\n")
    parts.append("int (*const all[])(struct s *, int, int) = {" + ", ".join(f"f{n}" for n in range(functions)) + "};\n")
    return written(folder, "large.i", parts)


# The repository

# Nobody's configuration, so that every machine does the same work.
GIT_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def git_repository(folder, git, commits=270, files=80, lines=250):
    """A bare repository whose files change a little with each commit; returns its path."""
    generator = random.Random(1)
    path = os.path.join(folder, "repository.git")
    line = lambda: " ".join(generator.choices(("block", "span", "page", "free", "live", "ledger", "slab"), k=8))
    texts = [[f"{line()} {n}" for n in range(lines)] for _ in range(files)]
    stream = []
    for commit in range(commits):
        stream.append(f"commit refs/heads/main\ncommitter Q <q@example.org> {1700000000 + commit} +0000\ndata 1\nc\n")
        for number in generator.sample(range(files), files if commit == 0 else 14):
            for _ in range(5):
                texts[number][generator.randrange(lines)] = f"{line()} {commit}"
            text = "\n".join(texts[number]) + "\n"
            stream.append(f"M 100644 inline src/{number}.txt\ndata {len(text)}\n{text}\n")
    environment = dict(os.environ, **GIT_ENVIRONMENT)
    run_quietly([git, "init", "--quiet", "--bare", "--initial-branch=main", path], env=environment)
    run_quietly([git, "-C", path, "fast-import", "--quiet"], env=environment, input="".join(stream).encode())
    return path


# The solver's problems

def job_shop(generator, jobs, machines):
    """Schedules of decreasing length for jobs that go over machines in orders of their own, until there is none."""
    spans = [[generator.randrange(1, 12) for _ in range(machines)] for _ in range(jobs)]
    orders = [generator.sample(range(machines), machines) for _ in range(jobs)]
    after = lambda j, m, k, n: f"(>= t{j}_{m} (+ t{k}_{n} {spans[k][n]}))"  # job j on m after job k on n
    lines = [f"(declare-const t{j}_{m} Int)" for j in range(jobs) for m in range(machines)]
    for j, order in enumerate(orders):
        lines.append(f"(assert (>= t{j}_{order[0]} 0))")
        lines += [f"(assert {after(j, later, j, m)})" for m, later in zip(order, order[1:])]
    lines += [f"(assert (or {after(j, m, k, m)} {after(k, m, j, m)}))"
              for m in range(machines) for j in range(jobs) for k in range(j)]
    shortest = sum(map(sum, spans)) // machines
    for end in range(shortest + 60, shortest + 10, -6):
        lasts = [f"(assert (<= (+ t{j}_{order[-1]} {spans[j][order[-1]]}) {end}))" for j, order in enumerate(orders)]
        lines += ["(push)", *lasts, "(check-sat)", "(pop)"]
    return lines


def products(generator, bits):
    """Two equations over products of bit vectors."""
    sort, number = f"(_ BitVec {bits})", lambda: f"(_ bv{generator.getrandbits(bits) | 1} {bits})"
    return ["(push)", *(f"(declare-const {name} {sort})" for name in "xyz"),
            f"(assert (= (bvadd (bvmul x y) (bvmul {number()} z)) {number()}))",
            f"(assert (= (bvxor (bvmul y z) x) {number()}))",
            f"(assert (and (bvugt x (_ bv3 {bits})) (bvugt y (_ bv3 {bits}))))",
            "(check-sat)", "(get-value (x y z))", "(pop)"]


def smt_problems(folder, equations=170):
    """Problems in SMT-LIB for a solver; it answers with its solutions and with how much work it counted."""
    generator = random.Random(1)
    lines = ["(set-option :smt.random_seed 1)", "(set-option :sat.random_seed 1)", *job_shop(generator, 8, 6)]
    for n in range(equations):
        lines += products(generator, 16 + 4 * (n % 4))
    return written(folder, "problems.smt2", [line + "\n" for line in lines + ["(get-info :rlimit)"]])


# The document

POSTSCRIPT_OPENING = """%!PS-Adobe-3.0
/shown 0 def
/line { moveto dup show length shown add /shown exch def } bind def
/petal { gsave translate rotate 0 0 moveto 10 40 40 40 50 0 curveto 40 -40 10 -40 0 0 curveto
  setrgbcolor gsave fill grestore 0 setgray stroke grestore } bind def
% How often each word was used, in a dictionary that grows.
/uses 100 dict def
/remember { uses 1 index known { uses exch 2 copy get 1 add put } {
  uses length uses maxlength eq { /uses uses dup length 2 mul dict copy def } if uses exch 1 put } ifelse } bind def
"""


def postscript_text(generator, top):
    words = ["".join(generator.choices("abcdefghijklmnopqrst", k=generator.randrange(2, 10))) for _ in range(9)]
    font = generator.choice(("Times-Roman", "Helvetica", "Courier", "Times-Italic", "Helvetica-Bold"))
    return [f"/{font} findfont {generator.randrange(14, 25) / 2} scalefont setfont",
            f"({' '.join(words)}) 50 {top} line",
            *(f"/{word} remember" for word in words)]


def postscript_image(generator, side=64):
    pixels = generator.randbytes(side * side).hex()
    rows = [pixels[at:at + 128] for at in range(0, len(pixels), 128)]
    return [f"gsave {generator.randrange(50, 450)} {generator.randrange(50, 600)} translate 90 90 scale",
            f"/row {side} string def {side} {side} 8 [{side} 0 0 -{side} 0 {side}]",
            "{ currentfile row readhexstring pop } image", *rows, "grestore"]


def postscript_paths(generator):
    number = lambda: f"{generator.random():.2f}"
    petals = [f"{number()} {number()} {number()} {generator.randrange(360)} {generator.randrange(50, 550)} "
              f"{generator.randrange(50, 750)} petal" for _ in range(60)]
    corners = [f"{generator.randrange(50, 550)} {generator.randrange(50, 750)} lineto" for _ in range(200)]
    return petals + ["gsave newpath 300 400 moveto", *corners, "closepath eoclip",
                     *(f"{number()} setgray 50 {top} 500 7 rectfill" for top in range(50, 750, 12)), "grestore"]


def postscript_document(folder, pages=60):
    """A document of text, images, filled and clipped paths; it tells how much text it showed. Returns its path."""
    generator = random.Random(1)
    lines = [POSTSCRIPT_OPENING]
    for _ in range(pages):
        for _ in range(3):
            lines += postscript_paths(generator) + postscript_image(generator)
        for top in range(760, 40, -14):
            lines += postscript_text(generator, top)
        lines.append("showpage")
    lines.append("(checksum ) print shown =only ( ) print uses length =")
    return written(folder, "document.ps", ["\n".join(lines) + "\n"])


# The cache's requests

CACHE_END = b"mn\r\n"  # no operation, in memcached's protocol; the answer says that what was asked before is done
CACHE_ANSWER = b"MN\r\n"


def cache_requests(folder, groups=100, chunks=400, keys=300):
    """Chunks of sets and gets, each with CACHE_END behind it. Chunk n uses the keys of group n % groups alone; each is
    small enough to be sent before the first answer is read. Returns the path."""
    generator = random.Random(1)
    value = b"v" * 16384
    parts = []
    for chunk in range(chunks):
        group = chunk % groups
        sent = 0
        while sent < 60000:
            key = f"group-{group}:{generator.randrange(keys)}"
            size = int(16 * 1024 ** (generator.random() ** 3))  # 16 bytes to 16 KiB, most of them small
            parts += [f"set {key} 0 0 {size} noreply\r\n", value[:size], b"\r\n"]
            if generator.randrange(10) == 0:
                parts.append(f"delete group-{group}:{generator.randrange(keys)} noreply\r\n")
            asked = " ".join(f"group-{group}:{n}" for n in generator.sample(range(keys), 4))
            parts.append(f"get {asked}\r\n")
            sent += size + 130
        parts.append(CACHE_END)
    return written(folder, "requests", parts)
