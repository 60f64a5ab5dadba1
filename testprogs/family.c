/* Every function of the libc family once freed and once not, each from a function of its own. */
#define _GNU_SOURCE
#include "testprog.h"

#include <malloc.h>

/* What a site asks for, and the bytes that this must be counted as. */
#define MEMBER(name, bytes, call)                          \
    SITE static void *name(void) { return keep(call); }    \
    static struct truth name##_truth = {.site = #name};    \
    static void test_##name(void) {                        \
        void *first = name(), *second = name();            \
        if (!first || !second) _exit(1);                   \
        allocated(&name##_truth, bytes);                   \
        allocated(&name##_truth, bytes);                   \
        free(second);                                      \
        freed(&name##_truth, bytes);                       \
    }

static void *by_posix_memalign(size_t alignment, size_t size) {
    void *block = NULL;
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

MEMBER(site_malloc, 101, malloc(101))
MEMBER(site_calloc, 7 * 31, calloc(7, 31))
MEMBER(site_realloc, 303, realloc(NULL, 303))
MEMBER(site_reallocarray, 11 * 37, reallocarray(NULL, 11, 37))
MEMBER(site_posix_memalign, 505, by_posix_memalign(64, 505))
MEMBER(site_aligned_alloc, 640, aligned_alloc(64, 640))
MEMBER(site_memalign, 707, memalign(256, 707))
MEMBER(site_valloc, 808, valloc(808))
MEMBER(site_pvalloc, 909, pvalloc(909))
/* Above malloc's threshold for a mapping of its own. */
MEMBER(site_malloc_mapped, 1234567, malloc(1234567))
MEMBER(site_malloc_zero, 0, malloc(0))

static struct truth moved_from = {.site = "site_moved_from"};
static struct truth moved_to = {.site = "site_moved_to"};
SITE static void *site_moved_from(size_t size) { return keep(malloc(size)); }
SITE static void *site_moved_to(void *block, size_t size) { return keep(realloc(block, size)); }

int main(void) {
    ready();
    test_site_malloc();
    test_site_calloc();
    test_site_realloc();
    test_site_reallocarray();
    test_site_posix_memalign();
    test_site_aligned_alloc();
    test_site_memalign();
    test_site_valloc();
    test_site_pvalloc();
    test_site_malloc_mapped();
    test_site_malloc_zero();
    /* Grown by realloc: the block goes over to the site that grew it. */
    for (int i = 0; i < 10; i++) {
        void *block = site_moved_from(50);
        allocated(&moved_from, 50);
        site_moved_to(block, 5000);
        freed(&moved_from, 50);
        allocated(&moved_to, 5000);
    }
    free(NULL);
    tell(&site_malloc_truth);
    tell(&site_calloc_truth);
    tell(&site_realloc_truth);
    tell(&site_reallocarray_truth);
    tell(&site_posix_memalign_truth);
    tell(&site_aligned_alloc_truth);
    tell(&site_memalign_truth);
    tell(&site_valloc_truth);
    tell(&site_pvalloc_truth);
    tell(&site_malloc_mapped_truth);
    tell(&site_malloc_zero_truth);
    tell(&moved_from);
    tell(&moved_to);
    tell_counter("AllocFailed", 0);
    tell_counter("FreeUnknown", 0);
    done();
}
