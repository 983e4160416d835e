/* fork: the child must own a consistent heap at once, whatever other threads were doing. Registered by src/api/. */
#ifndef QUARRY_THREAD_FORK_H
#define QUARRY_THREAD_FORK_H

struct lock;

/* Before the second thread: a lock of a layer above, of a higher rank than all here, is taken, too. */
void fork_takes(struct lock *lock);

/* For pthread_atfork, registered before anybody else's: so prepare runs last and the other two first. */
void fork_prepare(void);
void fork_parent(void);
void fork_child(void);

#endif
