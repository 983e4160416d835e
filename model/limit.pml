/*
 * The limit of the process, and what a request does that meets it. Run by model/check; model/README.md has the figures, the
 * BREAK_ switches and the names in C.
 *
 * Mirrors: limit_allows, limit_note, limit_excess (src/space/limit.c); span_take, purge_step, uncommit_step, purge_for
 * (src/space/); shortage_relieve, trim (src/api/); large_move (src/block/large.c).
 *
 * Threads ask for units, free them (to the free spans, or to a magazine, where only they reach them), move them; another
 * one purges and uncommits as it likes. Which free units a request gets is left open.
 *
 * Asserted: memory that is there never exceeds the limit, nor is counted as more; a request fails only if at some moment
 * while it was made what the program and other threads' magazines held left no room for it, or others got in its way twice
 * at least (it tries three times); nothing stays counted twice, or noted. No deadlock; LIVENESS: a request beside a thread that purges,
 * allocates and frees for ever is served or fails.
 */
#ifndef LIMIT
#define LIMIT  3
#endif
#ifndef ROUNDS
#define ROUNDS 2                /* of the one thread, of the other */
#endif
#ifndef OTHERS
#define OTHERS ROUNDS
#endif
#ifndef STEPS
#define STEPS  1                /* of the background */
#endif

#define THREADS 2

byte used;                      /* span_used_units: whatever is in no free span */
byte dirty;                     /* span_dirty_units */
byte noted;                     /* limit_note's other_bytes, negative: units used that don't count */
byte in_flight;
byte cached[THREADS];           /* units in magazines */
byte there;                     /* ghosts: units of memory */
byte live[THREADS];             /* the program's */
byte wanted[THREADS];           /* 0: no request */
bit  tight[THREADS];            /* there was no room for it */
byte stirred[THREADS];          /* how often others took, freed or began a step meanwhile, at most ENOUGH */
#define ENOUGH 2

#ifdef LIVENESS
bit  over;
ltl ends { <> over }
#endif

#define held        (used + dirty - noted)
#define excess(n)   (held + (n) > LIMIT -> held + (n) - LIMIT : 0)
#define beside(me)  (live[0] + live[1] + cached[1 - (me)])
#define NO_ROOM(me) if :: wanted[me] > 0 && beside(me) + wanted[me] > LIMIT -> tight[me] = 1 :: else fi
#define STIR(x)     stirred[x] = (wanted[x] > 0 && stirred[x] < ENOUGH -> stirred[x] + 1 : stirred[x])
#define STIR_OTHER  STIR(1 - me)
#define STIR_OTHERS if :: me != 0 -> STIR(0) :: else fi; if :: me != 1 -> STIR(1) :: else fi
#define BOUND       assert(there <= LIMIT && held <= LIMIT && there <= held); NO_ROOM(0); NO_ROOM(1)

/* span_take: sets `got`. Any part of what it gets is dirty, and counts already. */
inline take(n) {
    atomic {
        if :: n > 1 -> d = 0 :: dirty > 0 -> d = 1 :: dirty > 1 && n > 1 -> d = 2 :: dirty == 0 -> d = 0 fi;
#ifdef BREAK_TAKE_UNASKED
        got = true;
#elif defined(BREAK_DIRTY_IS_FREE)
        got = (used - noted + n <= LIMIT);
#else
        got = (excess(n - d) == 0);
#endif
        if
        :: got -> used = used + n; dirty = dirty - d; there = there + n - d
        :: else
        fi;
        d = 0
    }
}

/* purge_step, of at most `most` units; sets `purged`. */
inline purge_step(most) {
    atomic {
        if :: dirty >= 2 && most >= 2 -> purged = 2 :: dirty >= 1 && most >= 1 -> purged = 1
           :: dirty == 0 || (most) == 0 -> purged = 0 fi;
        dirty = dirty - purged;
#ifndef BREAK_STEP_UNCOUNTED
        used = used + purged;
#endif
        if :: purged > 0 -> in_flight++; STIR_OTHERS :: else fi;
        BOUND
    }
    if
    :: purged > 0 ->
       atomic {
#ifndef BREAK_STEP_UNCOUNTED
           used = used - purged;
#endif
           there = there - purged; in_flight--; BOUND
       }
    :: else
    fi
}

/* Clean units, which look used. */
inline uncommit_step() {
    atomic {
        used++; in_flight++; STIR_OTHERS;
#ifndef BREAK_UNCOMMIT_COUNTS
        noted++;
#endif
        BOUND
    }
    atomic {
        used--; in_flight--;
#ifndef BREAK_UNCOMMIT_COUNTS
        noted--;
#endif
        BOUND
    }
}

/* Sets `found`. */
inline purge_for(n) {
    atomic { e = excess(n); found = (dirty > 0 || e == 0);
#ifdef BREAK_PURGE_TO_LEVEL
             if :: e > 0 -> keep = (dirty > e -> dirty - e : 0) :: else -> keep = 0 fi;
#endif
             if :: e == 0 -> e = LIMIT :: else fi }
    do
#ifdef BREAK_PURGE_TO_LEVEL
    :: dirty > keep -> purge_step(dirty - keep);
#else
    :: e > 0 -> purge_step(e); atomic { e = e - purged };
#endif
       if :: purged == 0 -> break :: else fi
    :: else -> break
    od;
    atomic { e = 0; purged = 0 }
#ifndef BREAK_WAIT_FOR_NOBODY
    if
    :: in_flight > 0 -> found = true; in_flight == 0
    :: else
    fi
#endif
}

/* large_move: of one unit to two, of which one is there already. What moves counts once. */
inline move() {
    atomic {
#ifndef BREAK_MOVE_COUNTS_TWICE
        noted++;
#endif
        take(2);
        if
        :: got -> there--; live[me]++; STIR_OTHER
#ifdef BREAK_MOVE_COUNTS_TWICE
        :: else
#else
        :: else -> noted--
#endif
        fi;
        BOUND
    }
    if
    :: got ->
       atomic {                         /* source_release */
           used--;
#if !defined(BREAK_MOVE_COUNTS_TWICE) && !defined(BREAK_MOVE_STAYS_NOTED)
           noted--;
#endif
           BOUND
       }
    :: else
    fi
}

/* shortage_relieve, after a take that failed. */
inline request() {
    do
    :: atomic {
           take(wanted[me]);
           if
           :: got -> STIR_OTHER; live[me] = live[me] + wanted[me]; wanted[me] = 0; tight[me] = 0; stirred[me] = 0; BOUND; break
           :: else
           fi
       }
       if
       :: stage == 0 ->
          stage = 1;
          purge_for(wanted[me]);
          if
          :: atomic { found -> found = 0 }
          :: else -> goto emptied
          fi
       :: stage == 1 ->
emptied:  stage = 2;
#ifndef BREAK_KEEP_CACHED
          atomic { used = used - cached[me]; dirty = dirty + cached[me]; if :: cached[me] > 0 -> STIR_OTHER :: else fi; cached[me] = 0; BOUND }
#endif
          purge_for(wanted[me]);
          found = 0
       :: stage == 2 ->
          /* The handler: frees a unit, and says so; or it doesn't help. */
          if
          :: atomic { live[me] > 0 -> live[me]--; used--; dirty++; stage = 0; STIR_OTHER; BOUND }
          :: atomic { assert(tight[me] || stirred[me] == ENOUGH); wanted[me] = 0; tight[me] = 0; stirred[me] = 0; break }
          fi
       fi
    od;
    stage = 0
}

proctype thread(byte me; byte rounds) {
    byte stage, d, e, purged;
#ifdef BREAK_PURGE_TO_LEVEL
    byte keep;
#endif
    bit got, found;
    do
    :: rounds > 0 -> rounds--;
       if
       :: atomic { if :: wanted[me] = 1 :: wanted[me] = 2 fi; BOUND } request()
       :: atomic { live[me] > 0 -> live[me]--; if :: used--; dirty++; STIR_OTHER :: cached[me]++ fi; BOUND }
       :: atomic { cached[me] > 0 -> cached[me]--; live[me]++; BOUND }
#ifdef WITH_MOVES
       :: live[me] > 0 -> move()
#endif
       fi
    :: else -> break
    od
#ifdef LIVENESS
    ; over = 1
#endif
}

proctype background() {
    byte me = THREADS;
    byte purged, steps;
    do
    :: steps < STEPS -> steps++;
       if
       :: purge_step(2)
       :: uncommit_step()
       fi
    :: else -> break
    od;
    purged = 0
}

#ifdef LIVENESS
/* Allocates and frees for ever. */
proctype churner(byte me) {
    byte d;
    bit got;
    do
    :: atomic { take(1); if :: got -> live[me]++; STIR_OTHER; BOUND :: else fi }
       atomic { if :: live[me] > 0 -> live[me]--; used--; dirty++; STIR_OTHER; BOUND :: else fi }
    od
}
#endif

init {
    atomic { used = 1; cached[0] = 1; there = 1; run thread(0, ROUNDS) }
#ifdef LIVENESS
    run churner(1)
#else
    atomic { run thread(1, OTHERS); run background() }
    atomic {
        (_nr_pr == 1);
        assert(noted == 0 && in_flight == 0 && used == live[0] + live[1] + cached[0] + cached[1] && there == held)
    }
#endif
}
