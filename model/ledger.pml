/*
 * The ownership protocol of Quarry's small blocks: one ledger byte per block, one writer per byte at any time.
 * Run by model/check, which chooses the sizes and the cast below (and says WITH_EXIT, WITH_CHANGE, WITH_FORK, RACING for what the
 * cast needs, to keep the verifier small); model/README.md has the figures and the BREAK_ switches.
 *
 * Mirrors (same names in C):
 *   heap_alloc heap_free_local slab_free_remote         the fast paths
 *   slab_notify slab_push heap_drain orphans_drain      telling the owner
 *   slab_count slab_refill magazine_drop                under the claim, between ledger, magazine and partial list
 *   slab_new slab_release                               headers from and to their pool, under the lock fork's prepare takes
 *   slab_drop_pages                                     scavenger and trim
 *   heap_exit heap_take heap_steal owner_change         who owns a slab
 *   fork_child                                          what is left of it all when the other threads are gone
 *
 * Asserted: (A) no block is handed out twice, nor stands in two magazines; (B) a valid free is never reported, a second
 * free always is, unless the block was handed out again; (C) a slab is linked at most once and `next` is never
 * overwritten while it is needed; (D) no page of a block that isn't FREE, or of a header that isn't a slab, is dropped;
 * (E) at quiescence, when every owner has drained once: each byte is FREE, LIVE and held, or CACHED in one magazine; no
 * claim and no token is left; a slab with a FREE block is on its owner's partial list; a slab of FREE blocks alone is
 * released. Threads stop after any of their operations, so (E) is checked for every state the system can rest in.
 *
 * Memory is sequentially consistent here: which stores need which order is argued in the C code, not checked.
 */
#ifndef NSLAB
#define NSLAB 1
#endif
#ifndef NBLK
#define NBLK 2
#endif
#ifndef NHEAP
#define NHEAP 2
#endif

#define NB       (NSLAB * NBLK)
#define SLAB(b)  ((b) / NBLK)
#define BIT(x)   (1 << (x))

#define FREE     0              /* the ledger byte */
#define CACHED   1
#define LIVE     2

#define NO_OWNER NHEAP          /* header in the pool; also the index of the orphans' stack */
#define ORPHANS  NHEAP
#define NO_HEAP  (NHEAP + 1)    /* a thread that owns nothing: no header says this */
#define CLOSED   255            /* head of the stack of a heap without a thread */

#define IN_USE   0
#define POOLED   1
#define UNUSED   2              /* never had a thread */

byte ledger[NB];
byte claim[NSLAB];              /* held: == epoch; anything else is void */
byte notified[NSLAB];           /* set: == epoch; anything else is void */
byte next[NSLAB];               /* slab + 1, 0 ends the chain */
byte owner[NSLAB];
byte stack[NHEAP + 1];          /* slab + 1, 0 empty, CLOSED */
byte magazine[NHEAP];           /* sets of blocks; the heap's thread alone touches it */
byte partial[NHEAP];            /* sets of slabs; the heap's thread, or the lock if the heap is pooled */
byte state[NHEAP];
byte epoch = 1;
bit  lock;                      /* pool lock and space lock in one: prepare takes both */

#define NOBODY   0              /* ghosts: what the program may know */
#define HELD     1
#define FREEING  2              /* a valid free has begun and not yet changed the byte */
byte holder[NB];
bit  linked[NSLAB];             /* on a stack, or `next` still to be read */
bit  forked;
#ifdef RACING
bit  raced[NB];                 /* an invalid free has won against a valid one at least once */
#endif

/* what a thread of the cast does beside alloc, free, drain and refill */
#define DROP     1              /* magazine_drop at any time (else only at exit) */
#define NEW      2              /* slab_new (slabs not taken by `init`) */
#define EXIT     4              /* exit, and come back with a pooled heap */
#define STEAL    8              /* slabs of pooled heaps */
#define CHANGE   16             /* slabs of heaps in use: the general case */
#define FORK     32
#define BAD      64             /* second frees, also racing */
#define FREEONLY 128            /* frees and nothing else */
#ifndef CAST
#define CAST run thread(0, DROP|NEW); run thread(NO_HEAP, FREEONLY); run thread(NO_HEAP, FREEONLY)
#endif
#ifndef START
#define START 0                 /* slabs that heap 0 owns at the start, with all blocks in its magazine */
#endif

#define ALL_FREE(s) (ledger[(s)*NBLK] == FREE && (NBLK < 2 || ledger[(s)*NBLK + (NBLK>1)] == FREE))

#if NB == 1
#define ANY_BLOCK(set) b = 0
#elif NB == 2
#define ANY_BLOCK(set) if :: (set)&1 -> b = 0 :: (set)&2 -> b = 1 fi
#elif NB == 3
#define ANY_BLOCK(set) if :: (set)&1 -> b = 0 :: (set)&2 -> b = 1 :: (set)&4 -> b = 2 fi
#else
#define ANY_BLOCK(set) if :: (set)&1 -> b = 0 :: (set)&2 -> b = 1 :: (set)&4 -> b = 2 :: (set)&8 -> b = 3 fi
#endif
#if NSLAB == 1
#define ANY_SLAB(set) s = 0
#elif NSLAB == 2
#define ANY_SLAB(set) if :: (set)&1 -> s = 0 :: (set)&2 -> s = 1 fi
#else
#define ANY_SLAB(set) if :: (set)&1 -> s = 0 :: (set)&2 -> s = 1 :: (set)&4 -> s = 2 fi
#endif
#if NB == 1
#define HOLDER_SET(v) (holder[0]==(v))
#elif NB == 2
#define HOLDER_SET(v) ((holder[0]==(v)) | (holder[1]==(v))<<1)
#elif NB == 3
#define HOLDER_SET(v) ((holder[0]==(v)) | (holder[1]==(v))<<1 | (holder[2]==(v))<<2)
#else
#define HOLDER_SET(v) ((holder[0]==(v)) | (holder[1]==(v))<<1 | (holder[2]==(v))<<2 | (holder[3]==(v))<<3)
#endif
#define OTHERS(h)  ((NHEAP > 0 && (h) != 0 -> magazine[0] : 0) | (NHEAP > 1 && (h) != 1 -> magazine[(NHEAP>1)] : 0))
#define OWNS(i,h)  ((NSLAB > (i) && owner[(NSLAB>(i) -> (i) : 0)] == (h)) << (i))
#define OWNED(h)   (OWNS(0,h) | OWNS(1,h) | OWNS(2,h))
#define OTHER      (1 - me)

#define LOCALS  byte b, s, k, n, got, lst, hd, tgt, o

/* ---- the claim: a try-lock ---- */
inline claim_try(s) {
    atomic { got = (claim[s] != epoch); if :: got -> claim[s] = epoch :: else fi }
}

/* ---- telling the owner ---- */

/* Links a slab whose token the caller has set, or found set on a chain it took. */
inline slab_push(s) {
    tgt = owner[s];
    do
    :: atomic { hd = stack[tgt]; if :: hd == CLOSED -> tgt = ORPHANS :: else -> next[s] = hd fi }
       atomic {
         if :: hd != CLOSED && stack[tgt] == hd ->
               assert(!linked[s]);                                      /* C */
               linked[s] = 1; stack[tgt] = s + 1; hd = 0; tgt = 0; break
            :: else
         fi
       }
    od
}

inline slab_notify(s) {
    atomic { got = (notified[s] != epoch); notified[s] = epoch }
    if :: got -> slab_push(s) :: else fi
}

/* Bytes are read one by one while others change them. */
inline ledger_scan(s) {
    do
    :: atomic { k < NBLK -> n = n + (ledger[s*NBLK + k] == FREE); k++ }
    :: atomic { k == NBLK -> k = 0; break }
    od
}

/* With the claim, of a slab that heap h owns. Under the lock: all changes between span and slab are. */
inline slab_release(s, h) {
    atomic { !lock -> lock = 1 }
    slab_release_locked(s, h);
    lock = 0
}
inline slab_release_locked(s, h) {
    atomic { assert(ALL_FREE(s) && owner[s] != NO_OWNER); owner[s] = NO_OWNER; partial[h] = partial[h] & ~BIT(s) }
}

/* After blocks of s became FREE and its token was cleared (or by who made them FREE). */
inline slab_count(s) {
    claim_try(s);
    if
    :: !got ->
#ifndef BREAK_FORGET_CLAIMED
       slab_notify(s)                   /* somebody scans it: later, once more */
#else
       skip
#endif
    :: else ->
       if
#ifndef BREAK_COUNT_TRUSTS_OWNER
       :: owner[s] != me -> claim[s] = 0; slab_notify(s)        /* changed since the caller looked */
       :: else ->
#else
       :: true ->
#endif
          ledger_scan(s);
          if
          :: n == NBLK -> n = 0; slab_release(s, me)
          :: n > 0 && n < NBLK -> atomic { n = 0; partial[me] = partial[me] | BIT(s) }
          :: n == 0
          fi;
          claim[s] = 0
       fi
    fi;
    got = 0
}

inline heap_drain() {
    atomic { lst = stack[me]; stack[me] = 0 }
    drain_chain()
}
inline drain_chain() {
    do
    :: lst != 0 ->
       s = lst - 1;
#ifndef BREAK_NEXT_AFTER_CLEAR
       atomic { lst = next[s]; linked[s] = 0 }
#endif
#ifdef BREAK_CLEAR_BEFORE_FORWARD
       notified[s] = 0;
#endif
       if
       :: owner[s] == me ->
#ifndef BREAK_CLEAR_AFTER_COUNT
          notified[s] = 0;
#endif
#ifdef BREAK_NEXT_AFTER_CLEAR
          atomic { lst = next[s]; linked[s] = 0 }
#endif
          slab_count(s)
#ifdef BREAK_CLEAR_AFTER_COUNT
          ; notified[s] = 0
#endif
       :: else ->
#ifdef BREAK_NEXT_AFTER_CLEAR
          atomic { lst = next[s]; linked[s] = 0 }
#endif
          slab_push(s)
       fi
    :: else -> break
    od;
    s = 0
}

/* By any thread. The lock keeps header and heap what they are (in the pool, pooled, in use) while the token is cleared. */
inline orphans_drain() {
    atomic { lst = stack[ORPHANS]; stack[ORPHANS] = 0 }
    do
    :: lst != 0 ->
       s = lst - 1;
       atomic { lst = next[s]; linked[s] = 0 }
#ifndef BREAK_ORPHANS_UNLOCKED
       atomic { !lock -> lock = 1 }
#endif
       o = owner[s];
       if
       :: o == NO_OWNER -> notified[s] = 0
       :: o != NO_OWNER && state[o] == POOLED -> notified[s] = 0; slab_count_pooled(s)
       :: else -> slab_push(s)
       fi;
#ifndef BREAK_ORPHANS_UNLOCKED
       lock = 0;
#endif
       o = 0
    :: else -> break
    od;
    s = 0
}
inline slab_count_pooled(s) {           /* lock held, heap o pooled */
    claim_try(s);
    if
    :: !got -> slab_notify(s)
    :: else ->
       if
       :: owner[s] != o -> claim[s] = 0; slab_notify(s)
       :: else ->
          ledger_scan(s);
          if
          :: n == NBLK -> slab_release_locked(s, o)
          :: n > 0 && n < NBLK -> partial[o] = partial[o] | BIT(s)
          :: n == 0
          fi;
          n = 0;
          claim[s] = 0
       fi
    fi;
    got = 0
}

/* ---- blocks ---- */
inline heap_alloc() {                   /* pop and plain store: nobody else can see the difference */
    atomic {
        magazine[me] = magazine[me] & ~BIT(b);
        assert(ledger[b] == CACHED && holder[b] == NOBODY && !(OTHERS(me) & BIT(b)));     /* A */
        ledger[b] = LIVE; holder[b] = HELD; b = 0
    }
}

#ifdef RACING
#define REPORTED  assert(raced[b])
#define WON       raced[b] = raced[b] | bad
#else
#define REPORTED  assert(false)                                         /* B */
#define WON       skip
#endif

/* holder[b] is FREEING, unless this is a second free. A free that comes after the block was handed out again frees the new
   block: outside the promise, the path ends there. */
inline heap_free_local() {              /* the owner test was passed */
    if
    :: atomic { ledger[b] == LIVE && holder[b] == HELD -> b = 0 }
    :: atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING) }
       atomic {
         assert(!(magazine[me] & BIT(b)) && !(OTHERS(me) & BIT(b)));    /* A */
         ledger[b] = CACHED; magazine[me] = magazine[me] | BIT(b); holder[b] = NOBODY; WON; b = 0
       }
    :: atomic { ledger[b] != LIVE -> if :: bad :: else -> REPORTED fi; b = 0 }
    fi
}

inline slab_free_remote() {
    s = SLAB(b);
#ifdef BREAK_PLAIN_REMOTE_STORE
    if
    :: atomic { ledger[b] == LIVE && holder[b] == HELD -> b = 0 }
    :: atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING) }
       atomic { ledger[b] = FREE; holder[b] = NOBODY; WON; b = 0 }
       slab_notify(s)
    :: atomic { ledger[b] != LIVE -> if :: bad :: else -> REPORTED fi; b = 0 }
    fi;
#else
    if
    :: atomic { ledger[b] == LIVE && holder[b] == HELD -> b = 0 }
    :: atomic { ledger[b] == LIVE && holder[b] != HELD ->
                assert(holder[b] == FREEING);                           /* B: bad frees only win races */
                ledger[b] = FREE; holder[b] = NOBODY; WON; b = 0 }
       slab_notify(s)
    :: atomic { ledger[b] != LIVE -> if :: bad :: else -> REPORTED fi; b = 0 }
    fi;
#endif
    atomic { s = 0; got = 0 }
}

inline block_free() {
    if
    :: owner[SLAB(b)] == me -> heap_free_local()
    :: else -> slab_free_remote()
    fi
}

/* The claim is held. One batch ends anywhere: the rest stays on the partial list. */
inline refill_bytes(s) {
    do
    :: k < NBLK ->
       if
       :: atomic { ledger[s*NBLK + k] == FREE -> skip }
          atomic {
            ledger[s*NBLK + k] = CACHED;
            assert(!(magazine[me] & BIT(s*NBLK + k)) && !(OTHERS(me) & BIT(s*NBLK + k)));     /* A */
            magazine[me] = magazine[me] | BIT(s*NBLK + k); n = 1; k++
          }
          if :: skip :: k < NBLK -> k = NBLK + 1 fi
       :: atomic { ledger[s*NBLK + k] != FREE -> k++ }
       fi
    :: atomic { k == NBLK -> partial[me] = partial[me] & ~BIT(s); k = 0; n = 0; break }
    :: atomic { k == NBLK + 1 -> partial[me] = partial[me] | BIT(s); k = 0; n = 0; break }
    od
}
inline slab_refill(s) {
#ifdef BREAK_SCAN_WITHOUT_CLAIM
    refill_bytes(s);
#else
    claim_try(s);
    if
    :: got ->
       if
#ifdef BREAK_REFILL_ANY_OWNER
       :: true -> refill_bytes(s)
#else
       :: owner[s] == me -> refill_bytes(s)
#endif
       :: owner[s] != me -> partial[me] = partial[me] & ~BIT(s)           /* taken from us */
       fi;
       claim[s] = 0
    :: else
    fi;
#endif
    atomic { got = 0; s = 0 }
}

inline magazine_drop() {                /* of block b; the rest likewise */
    s = SLAB(b);
    atomic {
        assert(ledger[b] == CACHED);
        magazine[me] = magazine[me] & ~BIT(b); ledger[b] = FREE; b = 0
    }
#ifdef BREAK_DROP_TRUSTS_OWNER
    slab_count_blindly(s);
#else
    if
    :: owner[s] == me -> slab_count(s)
    :: else -> slab_notify(s)           /* the owner changed while the block was in our magazine */
    fi;
#endif
    atomic { s = 0; got = 0 }
}
inline slab_count_blindly(s) {          /* only for BREAK_DROP_TRUSTS_OWNER: not mine, not my business */
    if :: owner[s] == me -> slab_count(s) :: else fi
}

/* ---- headers ---- */
inline slab_new() {
    atomic { !lock -> lock = 1 }
    if
    :: OWNED(NO_OWNER) != 0 ->
       atomic { ANY_SLAB(OWNED(NO_OWNER)) }
       claim_try(s);
       if
       :: got ->
#ifdef BREAK_RESET_ON_REUSE
          atomic { notified[s] = 0; next[s] = 0 }
#endif
          atomic { assert(ALL_FREE(s)); owner[s] = me }
          lock = 0;
          refill_bytes(s);
          claim[s] = 0
       :: else -> lock = 0
       fi
    :: else -> lock = 0
    fi;
    atomic { s = 0; got = 0 }
}

/* ---- owners ---- */
inline heap_exit() {
    do
    :: magazine[me] != 0 -> atomic { ANY_BLOCK(magazine[me]) } magazine_drop()
    :: magazine[me] == 0 -> break
    od;
    heap_drain();
    atomic { !lock -> lock = 1 }
    state[me] = POOLED;
#ifndef BREAK_NO_CLOSED
    atomic { lst = stack[me]; stack[me] = CLOSED }
    do                                  /* what came since: pass it on, token and all */
    :: lst != 0 -> s = lst - 1; atomic { lst = next[s]; linked[s] = 0 } slab_push(s)
    :: else -> break
    od;
#endif
    atomic { lock = 0; s = 0 }
}
inline heap_take() {                    /* any pooled heap */
    atomic { !lock -> lock = 1 }
    atomic {
        if
        :: state[0] == POOLED -> me = 0
        :: NHEAP > 1 && state[(NHEAP>1)] == POOLED -> me = 1
        :: else
        fi;
        if
        :: me != NO_HEAP -> state[me] = IN_USE; if :: stack[me] == CLOSED -> stack[me] = 0 :: else fi
        :: else
        fi
    }
    lock = 0
}
inline heap_steal() {
    atomic { !lock -> lock = 1 }
    if
    :: state[OTHER] == POOLED && OWNED(OTHER) != 0 ->
       atomic { ANY_SLAB(OWNED(OTHER)) }
       claim_try(s);
       if
       :: got -> atomic { owner[s] = me; partial[OTHER] = partial[OTHER] & ~BIT(s); partial[me] = partial[me] | BIT(s) }
                 claim[s] = 0
       :: else
       fi
    :: else
    fi;
    atomic { lock = 0; s = 0; got = 0 }
}
inline owner_change(s) {                /* from a heap that runs, which isn't asked */
    claim_try(s);
    if
    :: got ->
       if
       :: owner[s] == OTHER -> atomic { owner[s] = me; partial[me] = partial[me] | BIT(s) }
       :: else
       fi;
       claim[s] = 0
    :: else
    fi;
    atomic { s = 0; got = 0 }
}

/* ---- fork: one thread is left, which held the lock; all of it in the child ---- */
inline fork_child() {
    (_nr_pr == 2);                      /* the others take their leave */
    atomic {
#ifdef BREAK_FORK_DRAIN_FIRST
        lock = 0;                       /* the drain may release a slab */
        heap_drain();
#else
        stack[me] = 0;                  /* the walk below counts all that was pending */
#endif
#ifndef BREAK_FORK_KEEP_ORPHANS
        stack[ORPHANS] = 0;
#endif
        s = 0;
        do                              /* ghost: forgotten chains link nothing */
        :: s < NSLAB -> linked[s] = 0; s++
        :: else -> s = 0; break
        od;
#ifdef BREAK_FORK_DRAIN_FIRST
        if :: stack[me] != 0 -> linked[stack[me] - 1] = 1 :: else fi;
#endif
#ifdef BREAK_FORK_KEEP_ORPHANS
        if :: stack[ORPHANS] != 0 -> linked[stack[ORPHANS] - 1] = 1 :: else fi;
#endif
#ifndef BREAK_KEEP_EPOCH
        epoch++;
#endif
        o = OTHER;
        if                              /* DEAD: no thread, and its lists may be half changed */
        :: state[o] == IN_USE -> magazine[o] = 0; partial[o] = 0; state[o] = POOLED; stack[o] = CLOSED
        :: else
        fi;
        do
        :: s < NSLAB ->
           if
           :: owner[s] != NO_OWNER ->
#ifndef BREAK_FORK_KEEP_CACHED
              do
              :: k < NBLK ->
                 if
#ifdef BREAK_FORK_TRUST_OWNER
                 :: ledger[s*NBLK + k] == CACHED && owner[s] != me
#else
                 :: ledger[s*NBLK + k] == CACHED && !(magazine[me] & BIT(s*NBLK + k))
#endif
                    -> ledger[s*NBLK + k] = FREE
                 :: else
                 fi;
                 k++
              :: else -> k = 0; break
              od;
#endif
              o = owner[s];
#ifdef BREAK_FORK_DEAD_ONLY
              if :: o != me -> slab_count_pooled(s) :: else fi
#else
              slab_count_pooled(s)
#endif
           :: else
           fi;
           s++
        :: else -> s = 0; o = 0; break
        od;
        lock = 0;
#ifdef CHILD_THREADS
        run thread(NO_HEAP, FREEONLY)
#endif
    }
}

/* ---- the cast ---- */
inline thread_body() {
    do
    :: atomic { me < NHEAP && magazine[me] != 0 && !(ops & FREEONLY) -> ANY_BLOCK(magazine[me]) } heap_alloc()
    :: atomic { HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING } block_free()
    :: me < NHEAP && stack[me] != 0 -> heap_drain()
    :: me < NHEAP && stack[ORPHANS] != 0 -> orphans_drain()
    :: atomic { me < NHEAP && partial[me] != 0 -> ANY_SLAB(partial[me]) } slab_refill(s)
    :: (ops & DROP) && me < NHEAP && magazine[me] != 0 -> atomic { ANY_BLOCK(magazine[me]) } magazine_drop()
    :: (ops & NEW) && me < NHEAP && partial[me] == 0 && OWNED(NO_OWNER) != 0 -> slab_new()
#ifdef WITH_EXIT
    :: (ops & EXIT) && me < NHEAP -> heap_exit(); me = NO_HEAP
    :: (ops & EXIT) && me == NO_HEAP -> heap_take()
    :: (ops & STEAL) && me < NHEAP && state[OTHER] == POOLED -> heap_steal()
#endif
#ifdef WITH_CHANGE
    :: atomic { (ops & CHANGE) && me < NHEAP && OWNED(OTHER) != 0 -> ANY_SLAB(OWNED(OTHER)) } owner_change(s)
#endif
#ifdef RACING
    :: atomic { (ops & BAD) && (HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)) != 0 ->
                ANY_BLOCK(HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)); bad = 1 }
       block_free(); bad = 0
#endif
#ifdef WITH_FORK
#ifdef BREAK_FORK_UNLOCKED
    :: (ops & FORK) && !forked -> atomic { lock = 1; forked = 1 } fork_child()
#else
    :: (ops & FORK) && !forked -> atomic { !lock -> lock = 1; forked = 1 } fork_child()
#endif
#endif
    :: break
    od
}

proctype thread(byte me; byte ops) {
    LOCALS;
    bit bad;
    thread_body()
}

#ifdef WITH_FORK
/* A thread that a fork may cut off after any step. */
proctype mortal(byte me; byte ops) {
    LOCALS;
    bit bad;
    { thread_body() } unless { forked }
}
#endif

inline slab_drop_pages() {
    do
    :: atomic { if :: s = 0 :: NSLAB > 1 -> s = 1 fi }
#ifndef BREAK_DROP_WITHOUT_CLAIM
       claim_try(s);
#else
       got = 1;
#endif
       if
       :: got ->
          if
#ifdef BREAK_DROP_POOLED
          :: true ->
#else
          :: owner[s] != NO_OWNER ->
#endif
             ledger_scan(s);
             if
             :: n == NBLK -> atomic { assert(ALL_FREE(s) && owner[s] != NO_OWNER) }          /* D */
             :: else
             fi;
             n = 0
#ifndef BREAK_DROP_POOLED
          :: else
#endif
          fi;
#ifndef BREAK_DROP_WITHOUT_CLAIM
          claim[s] = 0
#endif
       :: else
       fi;
       atomic { s = 0; got = 0 }
    :: break
    od
}
proctype scavenger() {
    LOCALS;
    slab_drop_pages()
}
#ifdef WITH_FORK
proctype mortal_scavenger() {
    LOCALS;
    { slab_drop_pages() } unless { forked }
}
#endif

init {
    byte me, round;
    bit bad;
    LOCALS;
    atomic {
        do
        :: s < NSLAB -> if :: START & BIT(s) -> owner[s] = 0 :: else -> owner[s] = NO_OWNER fi; s++
        :: else -> s = 0; break
        od;
        do
        :: b < NB -> if :: START & BIT(SLAB(b)) -> ledger[b] = CACHED; magazine[0] = magazine[0] | BIT(b) :: else fi; b++
        :: else -> b = 0; break
        od;
#ifdef HEAP1_POOLED
        state[1] = POOLED; stack[1] = CLOSED;
#endif
        CAST
    }
    atomic {
        (_nr_pr == 1);
#ifdef WITH_FORK
        do                              /* the child frees what it knows and empties its magazine */
        :: forked && HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING; block_free()
        :: else -> break
        od;
        do
        :: forked && magazine[0] != 0 -> ANY_BLOCK(magazine[0]); magazine_drop()
        :: else -> break
        od;
#endif
        assert(!lock);
        do                              /* every owner drains; what was on the wrong stack needs a second turn */
        :: round < 2 ->
           me = 0;
           do
           :: me < NHEAP -> if :: state[me] == IN_USE -> heap_drain() :: else fi; me++
           :: else -> me = 0; break
           od;
           orphans_drain();
           round++
        :: else -> break
        od;
        do                                                              /* E */
        :: s < NSLAB ->
           assert(claim[s] != epoch && notified[s] != epoch && !linked[s]);
           assert(owner[s] != NO_OWNER || ALL_FREE(s));
           assert(owner[s] == NO_OWNER || !ALL_FREE(s));
           s++
        :: else -> s = 0; break
        od;
        do
        :: b < NB ->
           s = SLAB(b);
           if
           :: ledger[b] == FREE -> assert(holder[b] == NOBODY && !(OTHERS(NO_HEAP) & BIT(b)));
                                   assert(owner[s] == NO_OWNER || (partial[owner[s]] & BIT(s)))
           :: ledger[b] == CACHED -> assert(holder[b] == NOBODY);
                                     assert(((magazine[0] >> b) & 1) + ((NHEAP > 1 -> magazine[(NHEAP>1)] >> b : 0) & 1) == 1)
           :: ledger[b] == LIVE -> assert(holder[b] == HELD || (forked && holder[b] == FREEING))
#ifdef WITH_FORK
                                   ; assert(!forked || holder[b] != HELD)
#endif
           fi;
           b++
        :: else -> break
        od
    }
}
