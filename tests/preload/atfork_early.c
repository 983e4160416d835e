/* Preloaded before libquarry.so, and with a constructor of high priority: its fork handlers stand around Quarry's or
 * within, and allocate. */
#include <pthread.h>
#include <stdlib.h>

static _Thread_local void *kept; /* several threads may fork at once */
static void prepare(void) { kept = malloc(500); free(malloc(50000)); free(calloc(1, 200000)); }
static void after(void) { free(kept); kept = NULL; free(malloc(60)); free(malloc(60000)); }
__attribute__((constructor(101))) static void constructor(void) { pthread_atfork(prepare, after, after); }
