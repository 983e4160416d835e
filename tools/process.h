/* Whether Quarry is active in a process that runs already, from what the kernel shows of it in /proc. */
#ifndef QUARRY_TOOLS_PROCESS_H
#define QUARRY_TOOLS_PROCESS_H

#include "tools/diagnosis.h"

/* 0, or -1 after a complaint if the process can't be looked at. */
int process_diagnose(struct diagnosis *diagnosis, long pid);

#endif
