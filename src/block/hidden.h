/* Freed large blocks that stay inaccessible for a while, with security level 2: behind markers and without memory. Called by
 * large.c; takes space_lock itself. */
#ifndef QUARRY_BLOCK_HIDDEN_H
#define QUARRY_BLOCK_HIDDEN_H

#include "space/space.h"

/* Makes a block inaccessible. False if it is too large, or the kernel has no markers for it: it is as it was. */
bool hidden_cover(struct span *large);

/* A covered block joins the others. Where there is no room for it one of them leaves instead, still covered: then try
 * again. NULL: it is among them. */
struct span *hidden_put(struct span *large);

/* One of them leaves, chosen at random, still covered; NULL if there is none. */
struct span *hidden_take(void);

/* Makes a block accessible that has left: it reads as zero. False if the markers stay: nobody may get it any more. */
bool hidden_uncover(struct span *large);

#endif
