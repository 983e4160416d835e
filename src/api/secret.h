/* Memory for secrets: a mapping of its own for each block, locked, in no core dump, wiped in a fork's child, between two
 * inaccessible pages, checked and zeroed when it is freed. For quarry_secure_alloc; with any security level and without. */
#ifndef QUARRY_API_SECRET_H
#define QUARRY_API_SECRET_H

#include "base/compiler.h"

/* 0 and the block, or a negative errno: the system's, ENOMEM if there are SECRETS_MAX already. */
int secret_make(size_t size, void **block);
/* NULL is nothing; reports what is no such block. */
void secret_free(void *block);
/* The start of one. No lock. */
bool secret_is(const void *pointer);

/* Each is three mappings, of which a process has but so many. */
#define SECRETS_MAX 1024

#endif
