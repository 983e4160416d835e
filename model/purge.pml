/*
 * Giving free spans back, beside allocation and fork. Run by model/check; model/README.md has the figures, the BREAK_
 * switches and the names in C.
 *
 * Mirrors: purge_step, uncommit_step, purge_pause, purge_is_in_flight, purge_fork_child (src/space/purge.c); span_take,
 * span_release_mapped, region_note_uncommitted (src/space/); fork_prepare, fork_parent, fork_child (src/thread/fork.c).
 *
 * A step takes a unit out of the free spans under space_lock, drops or unmaps its memory without it, and puts the unit back.
 * Fork lets no new step begin and waits for those at work, as their units are nobody's; a signal handler that interrupted a
 * step may fork, too, and doesn't wait for that one. The child goes on alone, with what it interrupted.
 *
 * Asserted: memory is dropped, or unmapped, of nobody's units alone; what is taken as clean is zero, and what is taken is
 * accessible; at a fork no unit is out of everybody's reach but the interrupted step's own; at rest all are where they
 * belong, nothing is counted or paused. No deadlock; LIVENESS: everything comes to its end.
 */
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef FORKS
#define FORKS 1
#endif

#define UNITS   2
#define NO_UNIT 2
#define TREE    0               /* free */
#define OUT     1               /* a step's */
#define HELD    2               /* the program's */
/* So many steps pass by while a fork waits, at most PURGE_WAITS_MAX times. */
#define PATIENCE 3

byte place[UNITS];
bit  dirty[UNITS];              /* as the region's bits say */
bit  noted[UNITS];              /* as uncommitted */
byte in_flight;
bit  paused;
bit  locked;                    /* space_lock, where it is held for more than a step */
bit  forking;                   /* pressure_lock, which fork_prepare takes first and keeps */
bit  there[UNITS];              /* ghosts: memory that is not zero; that can't be accessed */
bit  away[UNITS];
byte passed;                    /* steps that ended since the fork began to wait */
byte cut = NO_UNIT;             /* of a step that a handler interrupted, which forks */
byte child;                     /* who goes on alone */

bit  over;

#ifdef LIVENESS
#define ALONE (_nr_pr == 2)     /* the claim counts */
ltl ends { <> over }
#else
#define ALONE (_nr_pr == 1)
#endif

#ifdef BREAK_FORK_NO_PAUSE
#define may_begin true
#else
#define may_begin (!paused)
#endif
#define is_free(x) (place[x] == TREE)
#define waits_for_others (in_flight > (cut < NO_UNIT))

inline take_if(condition0, condition1) {
    if
    :: condition0 -> u = 0
    :: condition1 -> u = 1
    :: !(condition0) && !(condition1) -> u = NO_UNIT
    fi;
    if
    :: u != NO_UNIT -> place[u] = OUT
    :: else
    fi
}

#ifdef BREAK_COUNT_OUTSIDE
#define COUNT_INSIDE skip
#define COUNT_LATER  in_flight++
#else
#define COUNT_INSIDE in_flight++
#define COUNT_LATER  skip
#endif
#ifdef BREAK_BELOW_ZERO
#define COUNT_DOWN   in_flight--
#else
#define COUNT_DOWN   in_flight = in_flight - (in_flight > 0)
#endif

/* What the caller took under the lock goes back under it. */
inline put_back(is_dirty, is_away) {
#ifdef BREAK_COUNT_DOWN_FIRST
    atomic { !locked -> COUNT_DOWN }
#endif
#ifdef BREAK_NOTE_LATE
    atomic { !locked -> place[u] = TREE; dirty[u] = is_dirty; COUNT_DOWN; passed++ }
    atomic { noted[u] = is_away; u = NO_UNIT }
#else
    atomic {
        !locked -> place[u] = TREE; dirty[u] = is_dirty; noted[u] = is_away; passed++;
#ifndef BREAK_COUNT_DOWN_FIRST
        COUNT_DOWN;
#endif
        assert(in_flight < 10); u = NO_UNIT
    }
#endif
}

inline interrupted() {
    if
    :: handles && forks > 0 -> forks--; cut = u; fork()
    :: true
    fi
}

inline purge_step() {
    atomic { !locked -> take_if(may_begin && is_free(0) && dirty[0], may_begin && is_free(1) && dirty[1]);
             if :: u != NO_UNIT -> COUNT_INSIDE :: else fi
#ifdef BREAK_DROP_IN_TREE
             ; if :: u != NO_UNIT -> place[u] = TREE :: else fi
#endif
    }
    if
    :: u != NO_UNIT ->
       COUNT_LATER;
       interrupted();
       if
       :: atomic { assert(place[u] == OUT); there[u] = 0; refused = 0 }
       :: refused = 1
       fi;
#ifdef BREAK_REFUSED_IS_CLEAN
       put_back(0, 0);
#else
       put_back(refused, 0);
#endif
       refused = 0
    :: else
    fi
}

inline uncommit_step() {
    atomic { !locked -> take_if(may_begin && is_free(0) && !dirty[0] && !noted[0],
                                may_begin && is_free(1) && !dirty[1] && !noted[1]);
             if :: u != NO_UNIT -> COUNT_INSIDE :: else fi }
    if
    :: u != NO_UNIT ->
       COUNT_LATER;
       interrupted();
       if
       :: atomic { assert(place[u] == OUT); there[u] = 0; away[u] = 1; refused = 0 }
       :: refused = 1
       fi;
       put_back(0, !refused);
       refused = 0
    :: else
    fi
}

/* span_take, the program's use, span_release_mapped. */
inline allocate() {
    atomic {
        !locked -> take_if(is_free(0), is_free(1));
        if
        :: u != NO_UNIT ->
           place[u] = HELD;
           if :: noted[u] -> noted[u] = 0; away[u] = 0 :: else fi;
           assert(!away[u] && (dirty[u] || !there[u]));
           there[u] = 1
        :: else
        fi
    }
    if
    :: u != NO_UNIT ->
       atomic { !locked -> assert(place[u] == HELD && there[u] && !away[u]); place[u] = TREE; dirty[u] = 1; u = NO_UNIT }
    :: else
    fi
}

/* fork_prepare, then fork_parent or fork_child. */
inline fork() {
    atomic { !forking -> forking = 1 }
    atomic { !locked -> locked = 1; paused = 1; passed = 0 }
#ifndef BREAK_FORK_NO_WAIT
    if                                  /* not for a step whose handler waits for this fork, nor for ever */
    :: waits_for_others -> locked = 0; atomic { !locked && (!waits_for_others || passed >= PATIENCE) -> locked = 1 }
    :: else
    fi;
#endif
    atomic {
        assert((place[0] != OUT || cut == 0) && (place[1] != OUT || cut == 1));
        if
#ifdef BREAK_PAUSE_STAYS
        :: locked = 0
#else
        :: locked = 0; paused = 0       /* the parent */
#endif
        :: child = _pid; locked = 0; paused = 0; in_flight = 0
        fi;
        forking = 0;
        if :: cut == u -> cut = NO_UNIT :: else fi
    }
}

inline body() {
    do
    :: rounds > 0 -> rounds--;
       if
       :: purge_step()
       :: uncommit_step()
       :: allocate()
       fi
    :: forks > 0 && !handles -> forks--; fork()
    :: else -> break
    od
}

proctype thread(byte rounds; byte forks; bit handles) {
    byte u = NO_UNIT;
    bit refused;
    { body() } unless { child && child != _pid }
}

init {
    atomic {
        dirty[0] = 1; there[0] = 1;
        run thread(ROUNDS, 0, 0);
        run thread(ROUNDS, FORKS, 1);
        run thread(1, FORKS, 0)
    }
    atomic {
        ALONE;
        assert(in_flight == 0 && !paused && !locked && !forking);
        /* What others were using is lost to a child, and a step that waited for its fork. */
        assert((place[0] == TREE || child && (place[0] == HELD || cut == 0)) &&
               (place[1] == TREE || child && (place[1] == HELD || cut == 1)));
        over = 1
    }
}
