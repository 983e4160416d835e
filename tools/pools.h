/* Runtimes and libraries that cut small blocks out of large ones themselves, and the environment variable by which each
 * stops that: guard mode sees only what comes to malloc. Called by run.c. */
#ifndef QUARRY_TOOLS_POOLS_H
#define QUARRY_TOOLS_POOLS_H

#include <stdbool.h>

/* Sets the variables that are not set, and says so in one line if there are any. False with errno if that fails. */
bool pools_switch_off(void);

#endif
