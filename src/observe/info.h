/* glibc's ways to ask for figures (mallinfo, mallinfo2, malloc_info), answered in Quarry's terms. Called by the names
 * in src/api/override.c with no lock held. malloc_stats is stats_print (stats.h).
 *
 * What glibc divides into arenas and mapped blocks is one heap here: large blocks are cut out of the same regions. So
 * everything counts as arena, nothing as mapped, and whichever formula a program uses, it comes out true:
 *
 *   held by the heap:  arena + hblkhd = arena = uordblks + fordblks
 *   in use:            uordblks + hblkhd = uordblks, all live blocks, small and large, by their usable bytes */
#ifndef QUARRY_OBSERVE_INFO_H
#define QUARRY_OBSERVE_INFO_H

#include <malloc.h>
#include <stdio.h>

/* Where the C library hasn't them; programs that were made for another may ask. */
#ifdef QUARRY_OWN_MALLINFO
struct mallinfo {
	int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
#endif
#ifdef QUARRY_OWN_MALLINFO2
struct mallinfo2 {
	size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
#endif

/*   arena     uordblks + fordblks
 *   ordblks   number of free blocks in slabs
 *   smblks    number of free blocks in threads' magazines
 *   hblks     0: no block has a mapping of its own
 *   hblkhd    0
 *   usmblks   0, as in glibc
 *   fsmblks   bytes of the blocks of smblks, part of fordblks
 *   uordblks  usable bytes of all live blocks
 *   fordblks  free bytes that are held: in magazines, in slabs, and free spans whose memory has not gone back
 *   keepcost  of these, what malloc_trim gives back for certain: the free spans */
struct mallinfo2 info_mallinfo2(void);

/* The same. glibc lets what is beyond INT_MAX wrap; here it stays at INT_MAX, which at least is never too much. */
struct mallinfo info_mallinfo(void);

/* malloc_info(0, stream): glibc's document, one heap in it.
 *
 *   size          free blocks of a size class; count and total cover both magazines and slabs
 *   total fast    free blocks in magazines
 *   total rest    free blocks in slabs; the size also counts the free spans whose memory has not gone back
 *   total mmap    live large blocks
 *   system current  small live blocks and what fast and rest count; with the size of mmap it is mallinfo2's arena
 *   system max    no less than current has ever been: address space in use is committed and stays so
 *   aspace total, mprotect  address space reserved; the readable and writable part of it
 *
 * Written in one piece as far as other threads that use the stream can see. 0, or -1 with the errno that writing
 * left. The stream may allocate its buffer: no lock of ours is held. */
int info_write_xml(FILE *stream);

#endif
