/* What the command has to say about a program or a process: Quarry is active there, in part, or absent, and why. */
#ifndef QUARRY_TOOLS_DIAGNOSIS_H
#define QUARRY_TOOLS_DIAGNOSIS_H

#include <stddef.h>

enum verdict { VERDICT_ACTIVE, VERDICT_PARTIAL, VERDICT_ABSENT };

/* Zero-initialised it is "active" without words. */
struct diagnosis {
	enum verdict verdict;
	char *reason;                /* one clause; NULL at first */
	char **remarks;              /* one line each, e.g. for each object with an allocator of its own */
	size_t remark_count;
};

/* Takes `reason` over. A graver verdict replaces the reason that stood there, a lighter one changes nothing. */
void diagnosis_worsen(struct diagnosis *diagnosis, enum verdict verdict, char *reason);
/* Takes `remark` over. */
void diagnosis_remark(struct diagnosis *diagnosis, char *remark);
/* On standard output: "active: REASON" and the remarks, indented. */
void diagnosis_print(const struct diagnosis *diagnosis);
void diagnosis_free(struct diagnosis *diagnosis);

#endif
