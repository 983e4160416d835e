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
"""
