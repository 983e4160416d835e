/*
 * The ownership protocol of Quarry's small blocks: one ledger byte per block, one writer per byte at any time.
 * Run by model/check, which chooses the sizes and the cast below (and says WITH_EXIT, WITH_SHARED, WITH_FORK, RACING for
 * what the cast needs, to keep the verifier small); model/README.md has the figures, the BREAK_ switches and the names in C.
 *
 * Mirrors:
 *   heap_alloc heap_free_local                          the fast paths
 *   slab_free_remote shared_put                         frees by others, frees of the shared heap's blocks
 *   heap_notify notify_push heap_drain forward_orphans  telling the owner
 *   heap_fill heap_drop slab_gained heap_settle         between ledger, magazine, list and header
 *   heap_hand_over                                      who owns a slab: shared_exchange, heap_rob (of the shared heap and of pooled ones)
 *   heap_exit heap_take                                 threads come and go
 *   slab_drop_pages                                     trim
 *   fork_child                                          what is left of it all when the other threads are gone
 *   secure_release secure_leave                         frees with a security level; the quarantine
 *
 * Asserted: (A) no block is handed out twice, nor stands in two magazines; (B) a valid free is never reported, a second
 * free always is, unless the block was handed out again; (C) a slab is linked at most once and `next` is never
 * overwritten while it is needed; (D) no page of a block that isn't FREE, or of a header that isn't a slab, is dropped;
 * (E) at rest a slab that is announced is on its owner's stack, or on the orphans'; when these have been forwarded and
 * every owner has drained once, each byte is FREE, LIVE and held, or CACHED in one magazine; no claim and no token is
 * left; a slab with a FREE block is on its owner's list; a slab of FREE blocks alone is released. (F) Who changes a
 * header's counts and lists is the owner's user. (G) With a security level what is FREE or CACHED is zero, in a fork's child
 * too, and nobody zeroes a block that isn't LEAVING. Threads stop after any of their operations, so (E) is checked for every
 * state the system can rest in.
 *
 * Memory is sequentially consistent here: which stores need which order is argued in the C code, not checked.
 */
#ifndef NSLAB
#define NSLAB 1
#endif
#ifndef NBLK
#define NBLK 2
#endif

#define NB       (NSLAB * NBLK)
#define SLAB(b)  ((b) / NBLK)
#define BIT(x)   (1 << (x))

#define FREE     0              /* the ledger byte */
#define CACHED   1
#define LIVE     2
#define LEAVING  3              /* with a security level: whoever frees it zeroes it */

/* Heaps 0 and 1 are threads'. */
#define SHARED   2              /* the shared heap, used under shared_lock */
#define NO_OWNER 3              /* retired header; also the index of the orphans' stack */
#define ORPHANS  3
#define NO_HEAP  4              /* a thread that owns nothing: no header says this */

#define IN_USE   0
#define POOLED   1
#define DEAD     2

byte ledger[NB];
byte claim[NSLAB];              /* held: == epoch; anything else is void */
byte notified[NSLAB];           /* set: == epoch; anything else is void */
byte next[NSLAB];               /* slab + 1, 0 ends the chain */
byte owner[NSLAB];
byte stack[4];                  /* slab + 1, 0 empty */
byte known[NSLAB];              /* free_count: the owner's user's, as all of these */
byte granted[NSLAB];
byte left[NSLAB];
byte magazine[3];               /* sets of blocks */
byte partial[3];                /* sets of slabs */
#ifdef WITH_SECURE
byte quarantine[3];             /* sets of blocks */
bit  written[NB];               /* what is free is zero */
#endif
byte state[3];
byte epoch = 1;
bit  pool_lock;                 /* space_lock is held for single steps alone */
bit  shared_lock;

#define NOBODY   0              /* ghosts: what the program may know */
#define HELD     1
#define FREEING  2              /* a valid free has begun and not yet changed the byte */
byte holder[NB];
bit  linked[NSLAB];             /* on a stack, or `next` still to be read */
bit  forked;
#ifdef RACING
bit  raced[NB];                 /* an invalid free has won against a valid one at least once */
#endif

/* What a thread of the cast does beside alloc, free, drain and refill. */
#define DROP     1              /* heap_drop at any time (else only at exit) */
#define NEW      2              /* new slabs */
#define EXIT     4              /* exit, and come back with a pooled heap */
#define STEAL    8              /* slabs of pooled heaps */
#define EXPORT   16             /* shared_exchange: hands its slabs over to the shared heap */
#define FILL     32             /* fills its magazine from the shared heap's slabs */
#define ROB      64             /* shared_rob */
#define FORK     128
#ifdef CAST_BAD                 /* the cast's second frees, also racing: by those without a heap, or by heap 0's thread */
#define BAD      (CAST_BAD)
#else
#define BAD      false
#endif
#ifndef CAST
#define CAST run thread(0, DROP|NEW); run freer(); run freer()
#endif
#ifndef START
#define START 0                 /* slabs that heap 0 owns at the start, with all blocks in its magazine */
#endif
#ifndef TRIMS
#define TRIMS 1
#endif
#ifndef START_SHARED
#define START_SHARED 0          /* slabs that the shared heap owns at the start, all blocks FREE but the first: LIVE and held */
#endif

#if NBLK == 1
#define ALL_FREE(s) (ledger[s] == FREE)
#elif NBLK == 2
#define ALL_FREE(s) (ledger[(s)*2] == FREE && ledger[(s)*2+1] == FREE)
#else
#define ALL_FREE(s) (ledger[(s)*3] == FREE && ledger[(s)*3+1] == FREE && ledger[(s)*3+2] == FREE)
#endif

#if NB == 1
#define ANY_BLOCK(set) b = 0
#define HOLDER_SET(v) (holder[0]==(v))
#elif NB == 2
#define ANY_BLOCK(set) if :: (set)&1 -> b = 0 :: (set)&2 -> b = 1 fi
#define HOLDER_SET(v) ((holder[0]==(v)) | (holder[1]==(v))<<1)
#else
#define ANY_BLOCK(set) if :: (set)&1 -> b = 0 :: (set)&2 -> b = 1 :: (set)&4 -> b = 2 fi
#define HOLDER_SET(v) ((holder[0]==(v)) | (holder[1]==(v))<<1 | (holder[2]==(v))<<2)
#endif
#if NSLAB == 1
#define ANY_SLAB(set) s = 0
#define OWNED(h)   (owner[0] == (h))
#else
#define ANY_SLAB(set) if :: (set)&1 -> s = 0 :: (set)&2 -> s = 1 fi
#define OWNED(h)   ((owner[0] == (h)) | (owner[1] == (h))<<1)
#endif
#ifdef WITH_SECURE
#define KEPT(m)    (magazine[m] | quarantine[m])
#define TAKE_OUT(m) magazine[m] = magazine[m] & ~BIT(b); quarantine[m] = quarantine[m] & ~BIT(b)
#define CACHES(m)  (((magazine[m] >> b) & 1) + ((quarantine[m] >> b) & 1))
#else
#define KEPT(m)    magazine[m]
#define TAKE_OUT(m) magazine[m] = magazine[m] & ~BIT(b)
#define CACHES(m)  ((magazine[m] >> b) & 1)
#endif
#define COPIES     (CACHES(0) + CACHES(1) + CACHES(2))
#define OTHER      (1 - me)

#define LOCALS  byte b, s, k, n, lst, h, o, m, f, fly, t; bit got, gain, grants, again, slocked, plocked

/* ---- the claim: a try-lock ---- */
inline claim_try(s) {
    atomic { got = (claim[s] != epoch); if :: got -> claim[s] = epoch :: else fi }
}

/* ---- telling the owner ---- */

/* Links slab x, whose token the caller has set, or found set on a chain it took; then looks again. `fly` is what the
   thread has in hand: x, and what it has taken from stacks on the way (notify_forward_all). */
inline notify_push(x) {
    atomic { fly = BIT(x) }
    do
    :: fly != 0 ->
       atomic { if :: fly & 1 -> f = 0 :: else -> f = 1 fi; fly = fly & ~BIT(f); notified[f] = epoch; t = owner[f] }
       atomic { assert(!linked[f]); linked[f] = 1; next[f] = stack[t]; stack[t] = f + 1 }       /* C */
#ifndef BREAK_NO_SECOND_LOOK
       if
       :: t != NO_OWNER && owner[f] != t ->                             /* it changed between look and push */
          atomic {
            f = stack[t]; stack[t] = 0;
            do
            :: f != 0 -> fly = fly | BIT(f - 1); linked[f - 1] = 0; f = next[f - 1]
            :: else -> break
            od
          }
       :: else
       fi
#endif
    :: else -> break
    od;
    atomic { f = 0; t = 0 }
}

inline heap_notify(s) {
    atomic { got = (notified[s] != epoch); notified[s] = epoch }
    if :: got -> notify_push(s) :: else fi
}

/* Bytes are read one by one while others change them. */
inline ledger_scan(s) {
    do
    :: atomic { k < NBLK -> n = n + (ledger[s*NBLK + k] == FREE); k++ }
    :: atomic { k == NBLK -> k = 0; break }
    od
}

inline slab_count_returns(s) { known[s] = known[s] + granted[s] - left[s]; granted[s] = 0; left[s] = 0 }

/* With the claim, which ends, of a slab that heap h owns, by h's user. */
inline heap_settle(h, s) {
    atomic {
        assert(owner[s] == h);                                          /* F */
        slab_count_returns(s);
        if
        :: known[s] == NBLK ->
           assert(ALL_FREE(s)); owner[s] = NO_OWNER; partial[h] = partial[h] & ~BIT(s); known[s] = 0;
#ifndef BREAK_RELEASE_ANNOUNCED
           again = again | (notified[s] == epoch)       /* it may be on h's stack, and soon be another heap's slab */
#endif
        :: known[s] > 0 && known[s] < NBLK -> partial[h] = partial[h] | BIT(s)
        :: known[s] == 0
        fi;
        claim[s] = 0; got = 0
    }
}

inline heap_drain(h) {
    atomic { lst = stack[h]; stack[h] = 0 }
    do
    :: lst != 0 ->
#ifndef BREAK_NEXT_AFTER_CLEAR
       atomic { s = lst - 1; lst = next[s]; linked[s] = 0 }
#else
       s = lst - 1;
#endif
#ifdef BREAK_CLEAR_BEFORE_FORWARD
       notified[s] = 0;
#endif
       if
       :: owner[s] == h ->
#ifndef BREAK_CLEAR_AFTER_COUNT
          notified[s] = 0;
#endif
#ifdef BREAK_NEXT_AFTER_CLEAR
          atomic { lst = next[s]; linked[s] = 0 }
#endif
          claim_try(s);
          if
          :: !got ->
#ifndef BREAK_FORGET_CLAIMED
             heap_notify(s)             /* somebody scans it: later, once more */
#else
             skip
#endif
          :: else ->
             ledger_scan(s);
             atomic { known[s] = n; granted[s] = 0; left[s] = 0; n = 0 }
             heap_settle(h, s)
          fi
#ifdef BREAK_CLEAR_AFTER_COUNT
          ; notified[s] = 0
#endif
       :: else ->
#ifdef BREAK_NEXT_AFTER_CLEAR
          atomic { lst = next[s]; linked[s] = 0 }
#endif
#ifdef BREAK_CLEAR_BEFORE_FORWARD
          atomic { assert(!linked[s]); linked[s] = 1; next[s] = stack[owner[s]]; stack[owner[s]] = s + 1 }
#else
          notify_push(s)
#endif
       fi
    :: lst == 0 && again -> atomic { again = 0; lst = stack[h]; stack[h] = 0 }
    :: lst == 0 && !again -> break
    od;
    atomic { s = 0; got = 0 }
}

/* By any thread, without a lock. */
inline forward_orphans() {
    atomic { lst = stack[ORPHANS]; stack[ORPHANS] = 0 }
    do
    :: lst != 0 ->
       atomic { s = lst - 1; lst = next[s]; linked[s] = 0 }
       if
       :: owner[s] == NO_OWNER ->
          notified[s] = 0;
#ifndef BREAK_ORPHANS_ONE_LOOK
          if
          :: owner[s] != NO_OWNER -> heap_notify(s)     /* it became a slab: a free may have met the token */
          :: else
          fi
#endif
       :: else -> notify_push(s)
       fi
    :: else -> break
    od;
    atomic { s = 0; got = 0 }
}

/* ---- blocks ---- */
inline heap_alloc(m) {                  /* pop and plain store: nobody else can see the difference */
    atomic {
        assert(ledger[b] == CACHED && holder[b] == NOBODY && COPIES == 1);      /* A */
        magazine[m] = magazine[m] & ~BIT(b);
#ifdef WITH_SECURE
#ifdef BREAK_WRITE_BEFORE_LIVE
        written[b] = 1;
    }
    atomic {
#else
        assert(!written[b]); written[b] = 1;                            /* G */
#endif
#endif
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
#define IS_LIVE   atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING) }
#define IS_NEW    atomic { ledger[b] == LIVE && holder[b] == HELD -> b = 0 }
#define IS_DEAD   atomic { ledger[b] != LIVE -> if :: bad :: else -> REPORTED fi; b = 0 }

/* Into the magazine of m, which has room. */
inline put_cached(m) {
    assert(COPIES == 0);                                                /* A */
    ledger[b] = CACHED; magazine[m] = magazine[m] | BIT(b); holder[b] = NOBODY; WON
}
/* The magazine is full: straight back (slab_return). */
inline put_free(m) {
    assert(COPIES == 0 && owner[SLAB(b)] == m);                         /* A, F */
    ledger[b] = FREE; holder[b] = NOBODY; WON;
    s = SLAB(b); slab_count_returns(s); known[s]++; gain = 1; grants = 1
}

inline heap_free_local() {              /* the owner test was passed */
    if
    :: IS_NEW
    :: IS_LIVE
       if
       :: atomic { put_cached(me); b = 0 }
#ifdef WITH_RETURNS
       :: left[SLAB(b)] == 0 -> atomic { put_free(me); b = 0 }
       :: left[SLAB(b)] > 0 ->          /* slab_return_granted */
          atomic { left[SLAB(b)] = left[SLAB(b)] - 1; ledger[b] = FREE; holder[b] = NOBODY; WON; b = 0 }
#endif
       fi
    :: IS_DEAD
    fi
}

inline slab_free_remote() {
    s = SLAB(b);
    if
    :: IS_NEW
#ifdef BREAK_PLAIN_REMOTE_STORE
    :: IS_LIVE
       atomic { ledger[b] = FREE; holder[b] = NOBODY; WON; b = 0 }
#else
    :: atomic { ledger[b] == LIVE && holder[b] != HELD ->
                assert(holder[b] == FREEING);                           /* B: bad frees only win races */
                ledger[b] = FREE; holder[b] = NOBODY; WON; b = 0 }
#endif
       heap_notify(s)
    :: IS_DEAD
    fi;
    atomic { s = 0; got = 0 }
}

#ifdef WITH_SECURE
#define LEAVES    atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING); \
                           ledger[b] = LEAVING; holder[b] = NOBODY; WON }

/* The block is LEAVING: it is zeroed, and waits in the quarantine of who freed it (or of the shared heap), or doesn't. */
inline secure_leave() {
#ifndef BREAK_ZERO_LATE
    atomic { assert(ledger[b] == LEAVING && holder[b] == NOBODY); written[b] = 0 }              /* G */
#endif
    if
    :: atomic { me < 2 -> assert(COPIES == 0); ledger[b] = CACHED; quarantine[me] = quarantine[me] | BIT(b) }
    :: atomic { me < 2 && owner[s] == me -> assert(COPIES == 0); ledger[b] = CACHED; magazine[me] = magazine[me] | BIT(b) }
    :: owner[s] != me -> ledger[b] = FREE; heap_notify(s)
#ifdef WITH_NEW_THREADS
    :: me == NO_HEAP ->                 /* shared_give */
       ledger[b] = CACHED;
       atomic { !shared_lock -> shared_lock = 1 }
       atomic { assert(COPIES == 0); quarantine[SHARED] = quarantine[SHARED] | BIT(b); shared_lock = 0 }
#endif
    fi;
#ifdef BREAK_ZERO_LATE
    written[b] = 0;
#endif
    b = 0
}

/* secure_release: secure_release_own and release_others, by any thread. */
inline secure_release() {
    s = SLAB(b);
    if
    :: IS_NEW
    :: IS_LIVE                          /* the look of the fast path, and of live_block */
       if
#ifdef BREAK_PLAIN_LEAVE
       :: atomic { owner[s] == me -> ledger[b] = LEAVING; holder[b] = NOBODY; WON } secure_leave()
#endif
       :: LEAVES secure_leave()
       :: IS_NEW
       :: IS_DEAD
       fi
    :: IS_DEAD
    fi;
    atomic { s = 0; got = 0 }
}
#endif

inline block_free() {
#ifdef WITH_SECURE
    secure_release()
#else
    if
    :: owner[SLAB(b)] == me -> heap_free_local()
    :: owner[SLAB(b)] != me -> slab_free_remote()
    fi
#endif
}

/* A thread without a heap frees a block of a slab that was the shared heap's when it looked. */
inline shared_put() {
    if
    :: owner[SLAB(b)] == SHARED ->
#ifdef BREAK_SHARED_PLAIN_PUT
       (ledger[b] == LIVE);             /* as release_slow saw it */
#endif
       atomic { !shared_lock -> shared_lock = 1 }
       if
#ifndef BREAK_SHARED_PUT_TRUSTS_OWNER
       :: owner[SLAB(b)] != SHARED -> shared_lock = 0; slab_free_remote()       /* robbed meanwhile */
#endif
       :: else ->
          if
          :: IS_NEW
#ifdef BREAK_SHARED_PLAIN_PUT
          :: holder[b] != HELD -> atomic { put_cached(SHARED); b = 0 }
#else
          :: atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING); put_cached(SHARED); b = 0 }
          :: atomic { ledger[b] == LIVE && holder[b] != HELD -> assert(holder[b] == FREEING); put_free(SHARED); b = 0 }
          :: IS_DEAD
#endif
          fi;
          if :: gain -> slab_gained(SHARED) :: else fi;
          if :: again -> heap_drain(SHARED) :: else fi;
          shared_lock = 0
       fi
    :: owner[SLAB(b)] != SHARED -> slab_free_remote()
    fi;
    s = 0
}

/* After blocks went back to slab s of heap m's own. */
inline slab_gained(m) {
    if
    :: known[s] == NBLK ->
       claim_try(s);
       if :: got -> heap_settle(m, s) :: else -> heap_notify(s) fi
    :: else ->
       atomic {
         assert(owner[s] == m);
         partial[m] = partial[m] | BIT(s);
#ifdef WITH_RETURNS
#ifdef BREAK_GRANT_LAST
         if :: grants -> granted[s] = NBLK - known[s]; left[s] = granted[s] :: else fi
#else
         if :: grants -> granted[s] = NBLK - 1 - known[s]; left[s] = granted[s] :: else fi
#endif
#endif
       }
    fi;
    atomic { gain = 0; grants = 0; got = 0; s = 0 }
}

/* Of block b in the magazine of m; the rest likewise. The caller goes on with slab_gained. */
inline heap_drop(m) {
    s = SLAB(b);
    if
#ifndef BREAK_DROP_ANY_OWNER
    :: owner[s] != m ->
       atomic { assert(ledger[b] == CACHED && COPIES == 1); TAKE_OUT(m); ledger[b] = FREE; b = 0 }
#ifndef BREAK_DROP_UNANNOUNCED
       heap_notify(s)
#endif
    :: else ->
#else
    :: true ->
#endif
       atomic {
         assert(ledger[b] == CACHED && COPIES == 1);
         TAKE_OUT(m); ledger[b] = FREE; b = 0;
         slab_count_returns(s); known[s]++; gain = 1
       }
    fi;
    atomic { got = 0; if :: gain -> skip :: else -> s = 0 fi }
}

/* ---- refill: the magazine of m from slab s of heap o; the claim ends. A batch ends anywhere: the rest stays. ---- */
inline fill_from_slab(m, o) {
    atomic { slab_count_returns(s) }
    do
    :: k < NBLK ->
       if
       :: atomic { ledger[s*NBLK + k] == FREE -> skip }
          atomic {
            ledger[s*NBLK + k] = CACHED;
            b = s*NBLK + k; assert(COPIES == 0); b = 0;                 /* A */
            magazine[m] = magazine[m] | BIT(s*NBLK + k); n++; k++
          }
          if :: skip :: k < NBLK -> k = NBLK + 1 fi
       :: atomic { ledger[s*NBLK + k] != FREE -> k++ }
       fi
    :: k >= NBLK ->
       atomic {
         assert(owner[s] == o);                                         /* F */
         known[s] = (k > NBLK && known[s] > n -> known[s] - n : 0);
         if :: known[s] == 0 -> partial[o] = partial[o] & ~BIT(s) :: else -> partial[o] = partial[o] | BIT(s) fi;
         k = 0; n = 0; claim[s] = 0; got = 0; break
       }
    od
}

/* heap_fill and heap_fill_new. The lists are the owner's user's: for the shared heap's, under its lock. */
inline heap_fill() {
    if
    :: partial[o] != 0 ->
       atomic { ANY_SLAB(partial[o]) }
#ifdef BREAK_SCAN_WITHOUT_CLAIM
       got = 1;
#else
       claim_try(s);
#endif
       if :: got -> fill_from_slab(m, o) :: else fi
    :: partial[o] == 0 ->
       atomic {                         /* under space_lock */
         if :: OWNED(NO_OWNER) != 0 -> ANY_SLAB(OWNED(NO_OWNER)) :: else fi;
         if
         :: owner[s] == NO_OWNER && claim[s] != epoch ->
            claim[s] = epoch; assert(ALL_FREE(s)); owner[s] = o; known[s] = NBLK; granted[s] = 0; left[s] = 0; got = 1;
#ifdef BREAK_RESET_ON_REUSE
            notified[s] = 0; next[s] = 0
#endif
         :: else -> got = 0
         fi
       }
       if :: got -> fill_from_slab(m, o) :: else fi
    fi;
    atomic { s = 0; got = 0 }
}

/* ---- owners ---- */

/* Under the claim: from h to o, by the users of both. The caller drains h afterwards. */
inline heap_hand_over(s) {
    atomic { assert(owner[s] == h); partial[h] = partial[h] & ~BIT(s); slab_count_returns(s); owner[s] = o }
    heap_settle(o, s)
}

/* What a heap's user does beside malloc and free is chosen in the cast's loop, which takes the locks and says from which
   heap h to which other o slab s goes, if any. It ends with a drain of h and the release of the locks. */
inline owner_work() {
    if
    :: o != NO_HEAP ->
       claim_try(s);
       if :: got -> heap_hand_over(s) :: else fi
    :: else
    fi;
#ifdef BREAK_NO_DRAIN_AFTER
    if :: o == NO_HEAP -> heap_drain(h) :: else fi;
#elif defined(BREAK_HAND_OVER_BY_OTHERS)
    if :: h == me -> heap_drain(h) :: else fi;
#else
    heap_drain(h);
#endif
    atomic {
        if :: slocked -> shared_lock = 0 :: else fi;
        if :: plocked -> pool_lock = 0 :: else fi;
        slocked = 0; plocked = 0; h = 0; o = NO_HEAP; s = 0; got = 0
    }
}

inline heap_take() {                    /* pool_take: any pooled heap */
    if
    :: state[0] == POOLED -> me = 0
    :: state[1] == POOLED -> me = 1
    :: else
    fi;
    if :: me != NO_HEAP -> state[me] = IN_USE :: else fi
}

/* ---- fork: one thread is left, which held the locks; all of it in the child ---- */
inline fork_child() {
    (_nr_pr == 2);                      /* the others take their leave */
    atomic {
#ifndef BREAK_KEEP_EPOCH
        epoch++;
#endif
        shared_lock = 0; pool_lock = 0;
#ifdef WITH_SECURE
        do
        :: b < NB -> assert(!written[b] || ledger[b] == LIVE || ledger[b] == LEAVING); b++      /* G */
        :: else -> b = 0; break
        od;
#endif
        /* pool_fork_child: heaps of threads that are gone are buried; their chains are forgotten. */
        do
        :: h < 2 -> if :: h != me && state[h] == IN_USE ->
                          state[h] = DEAD; magazine[h] = 0; partial[h] = 0;
#ifdef WITH_SECURE
                          quarantine[h] = 0;
#endif
                        
                          do :: stack[h] != 0 -> linked[stack[h] - 1] = 0; stack[h] = next[stack[h] - 1] :: else -> break od
                    :: else fi; h++
        :: else -> h = 0; break
        od;
        fly = 0;                        /* ghost: what the others had in hand is linked nowhere */
        h = 0;
        do
        :: h < 4 -> lst = stack[h];
                    do :: lst != 0 -> fly = fly | BIT(lst - 1); lst = next[lst - 1] :: else -> break od; h++
        :: else -> h = 0; break
        od;
        do :: s < NSLAB -> linked[s] = (fly >> s) & 1; s++ :: else -> s = 0; break od;
        fly = 0;
        /* Before anything is announced: what is linked in the living heaps' chains has a token of the old epoch. */
#ifndef BREAK_FORK_KEEP_STACKS
        do
        :: h < 3 -> if :: state[h] != DEAD -> heap_drain(h) :: else fi; h++
        :: else -> h = 0; break
        od;
        forward_orphans();
#endif
        /* What the living have in their magazines may belong to slabs of the dead, whose CACHED blocks are taken for nobody's. */
#ifndef BREAK_FORK_KEEP_FOREIGN
        do
        :: KEPT(me) != 0 -> ANY_BLOCK(KEPT(me)); heap_drop(me); if :: gain -> slab_gained(me) :: else fi
        :: else -> break
        od;
        do
        :: KEPT(SHARED) != 0 -> ANY_BLOCK(KEPT(SHARED)); heap_drop(SHARED); if :: gain -> slab_gained(SHARED) :: else fi
        :: else -> break
        od;
#endif
        /* And the dead's magazines had blocks of slabs of the living. */
#ifndef BREAK_FORK_LOSE_FOREIGN
        do
        :: b < NB -> if :: ledger[b] == CACHED && COPIES == 0 && state[owner[SLAB(b)]] != DEAD ->
                           ledger[b] = FREE; s = SLAB(b); heap_notify(s); s = 0
                     :: else fi; b++
        :: else -> b = 0; break
        od;
#endif
        /* walk_slab, and walk_end */
        do
        :: s < NSLAB ->
           o = owner[s];
           if
           :: o != NO_OWNER && state[o] == DEAD ->
              do
              :: k < NBLK ->
                 if
#ifndef BREAK_FORK_KEEP_CACHED
                 :: ledger[s*NBLK + k] == CACHED -> ledger[s*NBLK + k] = FREE
#endif
                 :: else
                 fi;
                 n = n + (ledger[s*NBLK + k] == FREE); k++
              :: else -> k = 0; break
              od;
              claim[s] = epoch; known[s] = n; granted[s] = 0; left[s] = 0; n = 0;
              heap_settle(o, s)
           :: o != NO_OWNER && state[o] != DEAD ->
              /* Threads that are gone may have freed into it without announcing it. */
#ifdef BREAK_FORK_DEAD_ONLY
              skip
#elif defined(BREAK_FORK_SHARED_UNSEEN)
              if :: o != SHARED -> heap_notify(s) :: else fi
#else
              heap_notify(s)
#endif
           :: else
           fi;
           s++
        :: else -> s = 0; got = 0; break
        od;
        again = 0;                      /* it is looked for below */
        do
        :: h < 3 -> heap_drain(h); h++
        :: else -> h = 0; break
        od;
        do
        :: h < 2 -> if :: state[h] == DEAD -> state[h] = POOLED :: else fi; h++
        :: else -> h = 0; break
        od;
        o = NO_HEAP;
#ifdef CHILD_THREADS
        run freer()
#endif
    }
}

/* ---- the cast ---- */

inline thread_body() {
    o = NO_HEAP;
    do
    :: atomic { me < 2 && magazine[me] != 0 -> ANY_BLOCK(magazine[me]) } heap_alloc(me)
    :: if
       :: atomic { HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING } block_free()
#ifdef RACING
       :: atomic { BAD && (HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)) != 0 ->
                   ANY_BLOCK(HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)); bad = 1 } block_free(); bad = 0
#endif
       :: atomic { (ops & (DROP|EXIT)) && me < 2 && KEPT(me) != 0 -> ANY_BLOCK(KEPT(me)) } heap_drop(me)
#ifdef WITH_SECURE
       :: atomic { me < 2 && quarantine[me] != 0 -> ANY_BLOCK(quarantine[me]) }         /* quarantine_put: one leaves */
          if
          :: atomic { owner[SLAB(b)] == me -> quarantine[me] = quarantine[me] & ~BIT(b); magazine[me] = magazine[me] | BIT(b); b = 0 }
          :: heap_drop(me)
          fi
#endif
       :: break
       fi;
       if :: gain -> slab_gained(me) :: else fi;
       if :: again -> h = me; owner_work() :: else fi
    :: atomic { me < 2 && stack[me] != 0 -> h = me } owner_work()
#ifdef WITH_SHARED
    :: atomic { (ops & EXPORT) && me < 2 && partial[me] != 0 && !shared_lock ->         /* shared_exchange, first half */
                shared_lock = 1; slocked = 1; h = me; o = SHARED; ANY_SLAB(partial[me]) } owner_work()
    :: atomic { (ops & FILL) && me < 2 && !shared_lock && (partial[SHARED] != 0 || (ops & NEW) && OWNED(NO_OWNER) != 0) ->
                shared_lock = 1; m = me; o = SHARED } heap_fill();                      /* second half */
       atomic { shared_lock = 0; m = 0; o = NO_HEAP }
    :: atomic { (ops & ROB) && me < 2 && partial[SHARED] != 0 && !shared_lock ->        /* shared_rob */
                shared_lock = 1; slocked = 1; h = SHARED; o = me; ANY_SLAB(partial[SHARED]) } owner_work()
    :: atomic { me < 2 && stack[SHARED] != 0 && !shared_lock ->                         /* shared_tidy */
                shared_lock = 1; slocked = 1; h = SHARED } owner_work()
#endif
#ifdef WITH_EXIT
    :: atomic { (ops & STEAL) && me < 2 && state[OTHER] == POOLED && !pool_lock && (partial[OTHER] != 0 || stack[OTHER] != 0) ->
                pool_lock = 1; plocked = 1; h = OTHER;                                  /* pool_help: heap_rob */
                if :: partial[h] != 0 -> o = me; ANY_SLAB(partial[h]) :: stack[h] != 0 fi } owner_work()
    :: atomic { (ops & EXIT) && me < 2 && KEPT(me) == 0 && !pool_lock ->            /* pool_give; drops came before */
                pool_lock = 1; plocked = 1; h = me; state[me] = POOLED; me = NO_HEAP } owner_work()
#endif
#ifdef BREAK_HAND_OVER_BY_OTHERS
    :: atomic { me < 2 && partial[OTHER] != 0 -> h = OTHER; o = me; ANY_SLAB(partial[OTHER]) } owner_work()
#endif
    :: stack[ORPHANS] != 0 -> forward_orphans()
    :: atomic { me < 2 && (partial[me] != 0 || (ops & NEW) && OWNED(NO_OWNER) != 0) -> m = me; o = me } heap_fill();
       atomic { m = 0; o = NO_HEAP }
#ifdef WITH_EXIT
    :: atomic { (ops & EXIT) && me == NO_HEAP && !pool_lock -> heap_take() }
#endif
#ifdef WITH_FORK
    :: atomic { (ops & FORK) && !forked && !pool_lock && !shared_lock -> pool_lock = 1; shared_lock = 1; forked = 1 } fork_child()
#endif
    od
}

proctype thread(byte me; byte ops) {
    LOCALS;
    bit bad;
    thread_body()
}

#ifdef WITH_SECURE
#define FREE_WITHOUT_HEAP secure_release()
#define FREE_OF_NEWCOMER  secure_release()
#else
#define FREE_WITHOUT_HEAP slab_free_remote()
#define FREE_OF_NEWCOMER  shared_put()
#endif

/* A thread without a heap that frees by itself. */
inline freer_body() {
    do
    :: atomic { HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING } FREE_WITHOUT_HEAP
#ifdef RACING
    :: atomic { BAD && (HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)) != 0 ->
                ANY_BLOCK(HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)); bad = 1 } FREE_WITHOUT_HEAP; bad = 0
#endif
    :: break
    od
}
proctype freer() { LOCALS; bit bad; byte me = NO_HEAP; freer_body() }

#ifdef WITH_NEW_THREADS
/* Threads that use the shared heap themselves: they take from its magazine, fill it, drop it, put into it. */
proctype newcomer() {
    LOCALS;
    bit bad;
    byte ops = NEW, me = NO_HEAP;
    o = NO_HEAP;
    do
    :: atomic { magazine[SHARED] != 0 && !shared_lock -> ANY_BLOCK(magazine[SHARED]); heap_alloc(SHARED) }
    :: atomic { HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING } FREE_OF_NEWCOMER
#ifdef RACING
    :: atomic { BAD && (HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)) != 0 ->
                ANY_BLOCK(HOLDER_SET(NOBODY)|HOLDER_SET(FREEING)); bad = 1 } FREE_OF_NEWCOMER; bad = 0
#endif
    :: atomic { !shared_lock && (partial[SHARED] != 0 || OWNED(NO_OWNER) != 0) -> shared_lock = 1; m = SHARED; o = SHARED }
       heap_fill(); atomic { shared_lock = 0; m = 0; o = NO_HEAP }
    :: atomic { KEPT(SHARED) != 0 && !shared_lock -> shared_lock = 1; ANY_BLOCK(KEPT(SHARED)) } heap_drop(SHARED);
       if :: gain -> slab_gained(SHARED) :: else fi;
       if :: again -> heap_drain(SHARED) :: else fi;
       shared_lock = 0
    :: break
    od
}
#endif

#ifdef LIVENESS
/* What was freed comes back at last: its owner looks at a slab only when it was announced to him. He hands all out, and looks
 * for ever after; or he exports it once, and sleeps from then on, while others look after the shared heap. A trim comes by,
 * as often as TRIMS. */
ltl comes_back { <>[] (owner[0] == NO_OWNER) }

proctype looker(byte me; byte ops) {
    LOCALS;
    bit bad, asleep;
    o = NO_HEAP;
    do
    :: magazine[me] != 0 -> ANY_BLOCK(magazine[me]); heap_alloc(me)
    :: else -> break
    od;
    do
    :: atomic { stack[me] != 0 && !asleep -> h = me } owner_work()
    :: stack[ORPHANS] != 0 -> forward_orphans()
#ifdef WITH_SHARED
    :: atomic { (ops & EXPORT) && !asleep && partial[me] != 0 -> shared_lock = 1; slocked = 1; h = me; o = SHARED;
                ANY_SLAB(partial[me]) } owner_work();
       asleep = (OWNED(me) == 0)
    :: atomic { stack[SHARED] != 0 -> shared_lock = 1; slocked = 1; h = SHARED } owner_work()
#endif
    :: else                             /* in vain: a system that stands still would count as fair to all */
    od
}

proctype other() {
    LOCALS;
    bit bad;
    byte me = NO_HEAP;
    do
    :: atomic { HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING } FREE_WITHOUT_HEAP
    od
}

proctype trims() {
    LOCALS;
    byte left_to_do = TRIMS;
    do
    :: left_to_do > 0 -> left_to_do--; claim_try(s); if :: got -> ledger_scan(s); claim[s] = 0 :: else fi; atomic { n = 0; got = 0 }
    :: else -> break
    od
}
#endif

#ifdef WITH_FORK
/* Threads that a fork may cut off after any step. */
proctype mortal(byte me; byte ops) {
    LOCALS;
    bit bad;
    { thread_body() } unless { forked }
}
proctype mortal_freer() { LOCALS; bit bad; byte me = NO_HEAP; { freer_body() } unless { forked } }
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
#ifdef BREAK_DROP_RETIRED
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
#ifndef BREAK_DROP_RETIRED
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
proctype trimmer() { LOCALS; slab_drop_pages() }
#ifdef WITH_FORK
proctype mortal_trimmer() { LOCALS; { slab_drop_pages() } unless { forked } }
#endif

init {
    byte me, ops;
    bit bad;
    LOCALS;
    atomic {
        state[SHARED] = IN_USE;
        do
        :: s < NSLAB -> owner[s] = (START & BIT(s) -> 0 : (START_SHARED & BIT(s) -> SHARED : NO_OWNER));
                        if :: (START_SHARED & BIT(s)) && NBLK > 1 -> known[s] = NBLK - 1; partial[SHARED] = partial[SHARED] | BIT(s)
                           :: else fi;
                        s++
        :: else -> s = 0; break
        od;
        do
        :: b < NB -> if :: START & BIT(SLAB(b)) -> ledger[b] = CACHED; magazine[0] = magazine[0] | BIT(b)
                        :: (START_SHARED & BIT(SLAB(b))) && b % NBLK == 0 -> ledger[b] = LIVE; holder[b] = HELD
                        :: else fi; b++
        :: else -> b = 0; break
        od;
#ifdef HEAP1_POOLED
        state[1] = POOLED;
#endif
        CAST
    }
    atomic {
        (_nr_pr == 1);
#ifdef WITH_FORK
        do                              /* the child frees what it knows and empties its magazine */
        :: forked && HOLDER_SET(HELD) != 0 -> ANY_BLOCK(HOLDER_SET(HELD)); holder[b] = FREEING; block_free();
           if :: gain -> slab_gained(0) :: else fi
        :: else -> break
        od;
        do
        :: forked && KEPT(0) != 0 -> ANY_BLOCK(KEPT(0)); heap_drop(0);
           if :: gain -> slab_gained(0) :: else fi
        :: else -> break
        od;
#endif
        assert(!pool_lock && !shared_lock);
        do                              /* E: announced where the owner looks */
        :: h < 3 ->
           lst = stack[h];
           do
           :: lst != 0 -> assert(owner[lst - 1] == h || owner[lst - 1] == NO_OWNER); lst = next[lst - 1]
           :: else -> break
           od;
           h++
        :: else -> h = 0; break
        od;
        forward_orphans();
        do :: h < 3 -> heap_drain(h); h++ :: else -> h = 0; break od;
        forward_orphans();
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
           :: ledger[b] == FREE -> assert(holder[b] == NOBODY && COPIES == 0);
                                   assert(owner[s] == NO_OWNER || (partial[owner[s]] & BIT(s)))
           :: ledger[b] == CACHED -> assert(holder[b] == NOBODY && COPIES == 1)
#ifdef WITH_SECURE
           :: ledger[b] == LEAVING -> assert(forked && COPIES == 0)
#endif
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
