/* The scavenger's life: src/thread/scavenger.c, sweep_tick and wake of src/block/sweep.c, life_end of src/thread/life.c.
 *
 * Threads take heaps, free memory and end, in any order; who has the second heap starts the scavenger, which gives back
 * what was freed, sleeps while there is nothing to do, and ends when one heap or none is in use. Waiting with a timeout
 * may end at any time, a start may be refused, and main's thread may end first. Memory is sequentially consistent.
 *
 * Asserted: never two scavengers. At rest (nothing can go on but by new threads): with fewer than two heaps in use there
 * is none, whoever ended when: a process that only waits for it would never end; with two or more there is one, asleep
 * with nothing left to give back, unless its start was refused or main has ended. Checked with -DNP and weak fairness too:
 * it can't be busy for ever with nothing to do. */

#ifndef THREADS
#define THREADS 3
#endif
#ifndef FREES
#define FREES 1
#endif

#define NONE     0
#define AWAKE    1
#define CALLED   2
#define ASLEEP   3
#define STOPPING 4

byte sleeper = NONE;                    /* sweep_sleeper */
byte in_use;                            /* pool.in_use_count */
byte alive;                             /* scavengers that run */
byte begun, ended;                      /* threads */
bool moved;                             /* taken_bytes + freed_bytes > 0 */
bool waits;                             /* in the futex, without a timeout */
bool stopping, refused;

#define stands_alone (in_use < 2)

inline wake_futex() { waits = false }

/* change(from, to) */
inline change(from, to, done)
{
	atomic { if :: sleeper == from -> sleeper = to; done = true :: else -> done = false fi }
}

/* change_from_any(to): the load and the exchange are one step, as a failed exchange loads again. */
inline change_from_any(to, done)
{
#ifdef BREAK_CALL_SLEEPER_ONLY
	atomic { if :: sleeper == ASLEEP -> sleeper = to; done = true :: else -> done = false fi }
#else
	atomic { if :: sleeper != NONE && sleeper != STOPPING -> sleeper = to; done = true :: else -> done = false fi }
#endif
}

/* ends(): `yes` if this scavenger's thread is to end. */
inline ends(yes)
{
	atomic { change(AWAKE, NONE, yes); if :: yes -> alive-- :: else fi }
	if
	:: yes ->
#ifndef BREAK_END_ONE_LOOK
		if
		:: stands_alone
		:: else ->
			atomic { change(NONE, AWAKE, again); if :: again -> alive++ :: else fi }
			yes = !again
		fi
#endif
	:: else
	fi
}

proctype scavenger()
{
	byte idle;
	bool done, again;

	alive++;
	assert(alive <= 1);
look:
	do
	:: true ->
		/* os_futex_wait_ms(look_ms): any time. */
#ifndef BREAK_CALLED_STAYS
		change(CALLED, AWAKE, done);
#endif
		if
		:: sleeper == STOPPING -> atomic { alive--; sleeper = NONE } goto over
		:: else
		fi;
		if
		:: in_use == 0 ->
			ends(done);
			if :: done -> goto over :: else fi
		:: else
		fi;
		assert(alive == 1);
		/* sweep_background */
		atomic { if :: moved -> moved = false; idle = 0 :: else -> idle++ fi }
		if
		:: idle > 1 ->
			idle = 0;
			/* sleep_until_needed */
			if
			:: stands_alone ->
				ends(done);
				if :: done -> goto over :: else fi
			:: else
			fi;
			change(AWAKE, ASLEEP, done);
			if
			:: done ->
#ifndef BREAK_SLEEP_ONE_LOOK
				if
				:: moved || stands_alone -> change(ASLEEP, AWAKE, done)
				:: else
				fi;
#endif
				do
				:: atomic { sleeper == ASLEEP -> waits = true }
progress_asleep:
end_asleep:
					!waits
				:: sleeper != ASLEEP -> break
				od
			:: else
			fi
		:: else
		fi
	od;
over:
	skip
}

/* scavenger_start_if_needed */
inline start_if_needed()
{
	if
	:: stands_alone || stopping
	:: else ->
		change(NONE, AWAKE, done);
		if
		:: done ->
			if
			:: run scavenger()
			:: refused = true; sleeper = NONE
			fi
		:: else
		fi
	fi
}

proctype thread(bool is_main)
{
	bool done;
	byte frees;

	in_use++;
	start_if_needed();
	do
	:: frees < FREES ->
		frees++;
		/* sweep_note, then sweep_tick and wake */
#ifdef BREAK_LOOK_BEFORE_NOTE
		done = sleeper == ASLEEP;
		moved = true;
#else
		moved = true;
		done = sleeper == ASLEEP;
#endif
		if
		:: done ->
			change(ASLEEP, AWAKE, done);
			if :: done -> wake_futex() :: else fi
		:: else
		fi
	:: break
	od;
	if
	:: is_main -> skip
	:: true -> skip
	:: true ->                      /* lives on, and does nothing more */
		ended++;
		goto stays
	fi;
	/* life_end: pool_give, scavenger_heap_given, and of main scavenger_stop */
	in_use--;
	if
	:: stands_alone ->
		change_from_any(CALLED, done);
#ifndef BREAK_CALL_WITHOUT_WAKE
		if :: done -> wake_futex() :: else fi
#endif
	:: else
	fi;
	if
	:: is_main ->
		stopping = true;
		change_from_any(STOPPING, done);
		if :: done -> wake_futex() :: else fi
	:: else
	fi;
	ended++;
stays:
	skip
}

/* Nothing else can happen any more. */
proctype rest()
{
	timeout ->
		assert(ended == THREADS);
		if
		:: stands_alone -> assert(alive == 0 && sleeper == NONE)
		:: else ->
			assert(alive == 1 || refused || stopping);
			assert(alive == 0 || (sleeper == ASLEEP && waits && !moved))
		fi
}

init
{
	byte i;

	atomic {
		run thread(true);
		i = 1;
		do
		:: i < THREADS -> run thread(false); i++
		:: else -> break
		od;
		run rest()
	}
}
