/* Calls that fail: nothing is allocated, and a failed realloc keeps its old block. */
#define _GNU_SOURCE
#include "testprog.h"

/* Volatile, so that no compiler knows that they cannot succeed. */
static volatile size_t too_much = (size_t)1 << 62;
static volatile size_t beyond = SIZE_MAX - 4096;

static struct truth old = {.site = "old_block"}, failed = {.site = "failed_realloc"};
static struct truth fails = {.site = "failed_malloc"}, overflow = {.site = "overflowing"};
static struct truth zeroed = {.site = "zeroed_block"}, zero = {.site = "realloc_to_zero"};
static struct truth from_null = {.site = "realloc_of_null"};
static struct truth shrunk = {.site = "shrunk_block"}, shrinks = {.site = "shrinking_realloc"};

SITE static void *old_block(size_t size) { return keep(malloc(size)); }
SITE static void *failed_realloc(void *block) { return keep(realloc(block, too_much)); }
SITE static void *failed_malloc(size_t size) { return keep(malloc(size)); }
SITE static int overflowing(void *block) {
    void *aligned = NULL;
    int count = keep(calloc(too_much, 16)) == NULL;
    count += keep(reallocarray(block, too_much, 16)) == NULL;
    count += posix_memalign(&aligned, 3, 100) != 0;
    return count;
}
SITE static void *zeroed_block(size_t size) { return keep(malloc(size)); }
SITE static void *realloc_to_zero(void *block) { return keep(realloc(block, 0)); }
SITE static void *realloc_of_null(size_t size) { return keep(realloc(NULL, size)); }
SITE static void *shrunk_block(size_t size) { return keep(malloc(size)); }
SITE static void *shrinking_realloc(void *block, size_t size) { return keep(realloc(block, size)); }

int main(void) {
    ready();
    void *block = old_block(1000);
    allocated(&old, 1000);
    if (failed_realloc(block)) _exit(1);
    if (failed_malloc(too_much) || failed_malloc(beyond)) _exit(1);
    if (overflowing(block) != 3) _exit(1);

    void *gone = zeroed_block(500);
    allocated(&zeroed, 500);
    if (realloc_to_zero(gone)) _exit(1);
    freed(&zeroed, 500);

    realloc_of_null(300);
    allocated(&from_null, 300);

    void *shrinking = shrunk_block(4000);
    allocated(&shrunk, 4000);
    shrinking_realloc(shrinking, 100);
    freed(&shrunk, 4000);
    allocated(&shrinks, 100);

    tell(&old);
    tell(&failed);
    tell(&fails);
    tell(&overflow);
    tell(&zeroed);
    tell(&zero);
    tell(&from_null);
    tell(&shrunk);
    tell(&shrinks);
    tell_counter("AllocFailed", 6);
    tell_counter("FreeUnknown", 0);
    done();
}
