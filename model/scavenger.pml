/*
 * The scavenger's life. Run by model/check; model/README.md has the figures, the BREAK_ switches and the names in C.
 *
 * Mirrors: scavenger_run, sleep_until_needed, ends, scavenger_start_if_needed, scavenger_heap_given, scavenger_stop
 * (src/thread/scavenger.c); wake, sweep_tick, sweep_note (src/block/sweep.c); heap_get, life_end (src/thread/life.c).
 *
 * Threads take heaps, free memory, and end or stay, in any order. Who has the second heap starts the scavenger, which gives
 * back what was freed, sleeps while there is nothing to do, and ends when one heap or none is in use. A start may be
 * refused; main's thread may end before the others. A wait with a timer may end at any time, but not once the last heap
 * was given back: the process may be about to end, and must not wait for it.
 *
 * Asserted: never two scavengers. At rest, when nothing goes on but by new threads: with fewer than two heaps in use there
 * is none; with more there is one, asleep without a timer, and all that was freed has gone back, unless its start was
 * refused or main has ended. LIVENESS: that the system comes to rest for ever, under weak fairness: no wake-up is lost, what was
 * freed goes back when the program has fallen silent, the scavenger is not busy with nothing to do.
 *
 * Memory is sequentially consistent but for one place: a slow path's count may become visible after its look at the
 * sleeper, by which time a wait with a timer is not over.
 */
#ifndef THREADS
#define THREADS 2
#endif
#ifndef FREES
#define FREES 1                 /* of each thread */
#endif
#ifndef MAIN_FREES
#define MAIN_FREES FREES
#endif

#define NONE     0              /* sweep_sleeper */
#define AWAKE    1
#define CALLED   2
#define ASLEEP   3
#define STOPPING 4

#define HEAPS_MIN 2
#ifndef IDLE_MAX
#define IDLE_MAX 1              /* one look more than there seems to be a need for */
#endif

byte sleeper = NONE;
byte in_use;                    /* pool.in_use_count */
bit  moved;                     /* taken_bytes + freed_bytes > 0: sweep_is_needed */
byte on_the_way;                /* counts that are not visible yet */
bit  stopping;
bit  waits;                     /* in the futex */
byte alive;                     /* ghosts: scavengers that serve, refused starts */
bit  refused;

#define stands_alone (in_use < HEAPS_MIN)
#define settled      (alive == 0 && sleeper == NONE)
#define asleep       (alive == 1 && sleeper == ASLEEP && waits && !moved)
#define at_rest      ((stands_alone && settled) || (!stands_alone && (asleep || (settled && (refused || stopping)))))

#ifdef LIVENESS
ltl rests { <>[] (at_rest) }
#endif

/* change */
inline change(from, to) { atomic { done = (sleeper == from); if :: done -> sleeper = to :: else fi } }

/* change_from_any, and the wake that follows: its loop's last round, as a failed exchange looks again. */
inline call(to) {
    atomic {
#ifdef BREAK_CALL_SLEEPER_ONLY
        done = (sleeper == ASLEEP);
#else
        done = (sleeper != NONE && sleeper != STOPPING);
#endif
        if :: done -> sleeper = to :: else fi
    }
#ifndef BREAK_CALL_WITHOUT_WAKE
    atomic { if :: done -> waits = 0 :: else fi; done = 0 }
#endif
}

/* ends: sets `done` if the thread is to end. */
#ifdef BREAK_STAY_UNCALLED
#define AGAIN AWAKE
#else
#define AGAIN CALLED
#endif
inline ends() {
    atomic { change(AWAKE, NONE); if :: done -> alive-- :: else fi }
#ifndef BREAK_END_ONE_LOOK
    if
    :: done && !stands_alone ->
       atomic { change(NONE, AGAIN); if :: done -> alive++; assert(alive == 1) :: else fi; done = !done }
    :: else
    fi
#endif
}

proctype scavenger() {
    byte idle;
    bit done;
    atomic { alive++; assert(alive == 1) }
    do
    :: true ->
       /* os_futex_wait_ms(AWAKE) */
       if
       :: atomic { sleeper == AWAKE -> waits = 1 };
          if :: !waits :: atomic { in_use > 0 -> waits = 0 } fi
       :: sleeper != AWAKE
       fi;
#ifndef BREAK_CALLED_STAYS
       atomic { if :: sleeper == CALLED -> sleeper = AWAKE :: else fi };
#endif
       if
#ifndef BREAK_STOP_UNSEEN
       :: atomic { sleeper == STOPPING -> alive--; sleeper = NONE; break }
#endif
       :: else
       fi;
       if
       :: in_use == 0 -> ends(); if :: done -> break :: else fi
       :: else
       fi;
       /* sweep_background */
       atomic { if :: moved -> moved = 0; idle = 0 :: else -> idle++ fi };
       if
       :: idle > IDLE_MAX ->
          /* sleep_until_needed */
          if
          :: stands_alone -> ends(); if :: done -> break :: else fi
          :: else
          fi;
          atomic { change(AWAKE, ASLEEP); idle = 0 };
          if
          :: done ->
#ifndef BREAK_SLEEP_AT_ONCE
             (on_the_way == 0);         /* os_futex_wait_ms(ASLEEP) */
#endif
#ifndef BREAK_SLEEP_ONE_LOOK
             if
             :: moved || stands_alone -> change(ASLEEP, AWAKE)
             :: else
             fi;
#endif
             do
             :: atomic { sleeper == ASLEEP -> waits = 1 }
end_asleep:     !waits
             :: sleeper != ASLEEP -> break
             od
          :: else
          fi
       :: else
       fi
    od
}

/* scavenger_start_if_needed */
inline start_if_needed() {
    if
    :: atomic { stands_alone || stopping }
    :: else ->
       change(NONE, AWAKE);
       if
       :: done -> if :: run scavenger() :: atomic { refused = 1; sleeper = NONE } fi
       :: else
       fi
    fi
}

/* sweep_note and sweep_tick, which are in no order: the later one is seen first, too. */
inline free() {
    if
    :: moved = 1; done = (sleeper == ASLEEP)
    :: atomic { done = (sleeper == ASLEEP); on_the_way++ } atomic { moved = 1; on_the_way-- }
    fi;
    if
    :: done -> change(ASLEEP, AWAKE); atomic { if :: done -> waits = 0 :: else fi }
    :: else
    fi
}

proctype thread(bit is_main) {
    bit done;
    byte frees;                         /* so far */
    in_use++;                           /* pool_take */
    start_if_needed();
    do
    :: frees < (is_main -> MAIN_FREES : FREES) -> frees++; free()
    :: break
    od;
    if
    :: true                             /* stays, and does nothing more */
    :: in_use--;                        /* life_end: pool_give */
       if :: stands_alone -> call(CALLED) :: else fi;
       if :: is_main -> stopping = 1; call(STOPPING) :: else fi
    fi
}

#ifndef LIVENESS
proctype rest() {
    timeout -> assert(at_rest)
}
#endif

init {
    byte i;
    atomic {
        run thread(1);
        do
        :: i < THREADS - 1 -> run thread(0); i++
        :: else -> i = 0; break
        od;
#ifndef LIVENESS
        run rest()
#endif
    }
}
