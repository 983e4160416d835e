/* A verdict with its reason and remarks: see diagnosis.h. */
#include "tools/diagnosis.h"

#include <stdio.h>
#include <stdlib.h>

#include "tools/command.h"

void diagnosis_worsen(struct diagnosis *diagnosis, enum verdict verdict, char *reason)
{
	if (diagnosis->reason != NULL && verdict <= diagnosis->verdict) {
		free(reason);
		return;
	}
	free(diagnosis->reason);
	diagnosis->verdict = verdict;
	diagnosis->reason = reason;
}

void diagnosis_remark(struct diagnosis *diagnosis, char *remark)
{
	diagnosis->remarks = resize_array(diagnosis->remarks, diagnosis->remark_count + 1, sizeof(char *));
	diagnosis->remarks[diagnosis->remark_count++] = remark;
}

void diagnosis_print(const struct diagnosis *diagnosis)
{
	static const char *const names[] = {
		[VERDICT_ACTIVE] = "active",
		[VERDICT_PARTIAL] = "partial",
		[VERDICT_ABSENT] = "absent",
	};

	printf("%s: %s\n", names[diagnosis->verdict], diagnosis->reason);
	for (size_t i = 0; i < diagnosis->remark_count; i++)
		printf("  %s\n", diagnosis->remarks[i]);
}

void diagnosis_free(struct diagnosis *diagnosis)
{
	for (size_t i = 0; i < diagnosis->remark_count; i++)
		free(diagnosis->remarks[i]);
	free(diagnosis->remarks);
	free(diagnosis->reason);
}
