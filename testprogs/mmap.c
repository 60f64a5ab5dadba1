/* Mappings cut at each end and in the middle, grown, moved, and mapped over. Sizes in pages. */
#define _GNU_SOURCE
#include "testprog.h"

#include <sys/mman.h>

static size_t page;

static void *map(void *at, size_t pages, int flags) {
    void *start = mmap(at, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (start == MAP_FAILED) _exit(1);
    return start;
}

#define MAPS(name)                                                         \
    static struct truth name##_truth = {.site = #name};                    \
    SITE static char *name(void *at, size_t pages, int flags) {            \
        char *start = keep(map(at, pages, flags));                         \
        allocated(&name##_truth, pages * page);                            \
        return start;                                                      \
    }

MAPS(cut_head)
MAPS(cut_tail)
MAPS(cut_middle)
MAPS(unmapped)
MAPS(unmapped_in_parts)
MAPS(outgrown)
MAPS(reserved)
MAPS(moved_away)
MAPS(under)
MAPS(over)

static struct truth grows = {.site = "grow"}, moves = {.site = "move"};

SITE static char *grow(char *start, size_t from, size_t to) {
    char *grown = mremap(start, from * page, to * page, MREMAP_MAYMOVE);
    if (grown == MAP_FAILED) _exit(1);
    allocated(&grows, to * page);
    return keep(grown);
}

SITE static char *move(char *start, size_t pages, char *target) {
    char *moved = mremap(start, pages * page, pages * page, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (moved == MAP_FAILED) _exit(1);
    allocated(&moves, pages * page);
    return keep(moved);
}

static void unmap(char *start, size_t pages) {
    if (munmap(start, pages * page) != 0) _exit(1);
}

/* Gone in part: its bytes are freed, the mapping still counts as one. */
static void cut(struct truth *truth, size_t pages) { truth->freed_bytes += (long)(pages * page); }

int main(void) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    ready();

    char *start = cut_head(NULL, 8, 0);
    unmap(start, 2);
    cut(&cut_head_truth, 2);

    start = cut_tail(NULL, 8, 0);
    unmap(start + 5 * page, 3);
    cut(&cut_tail_truth, 3);

    start = cut_middle(NULL, 8, 0);
    unmap(start + 3 * page, 2);
    cut(&cut_middle_truth, 2);

    start = unmapped(NULL, 8, 0);
    unmap(start, 8);
    freed(&unmapped_truth, 8 * page);

    start = unmapped_in_parts(NULL, 8, 0);
    unmap(start + 3 * page, 2);
    unmap(start, 3);
    unmap(start + 5 * page, 3);
    freed(&unmapped_in_parts_truth, 8 * page);

    grow(outgrown(NULL, 4, 0), 4, 64);
    freed(&outgrown_truth, 4 * page);

    char *target = reserved(NULL, 8, 0);
    move(moved_away(NULL, 4, 0), 4, target);
    freed(&moved_away_truth, 4 * page);
    cut(&reserved_truth, 4);

    start = under(NULL, 8, 0);
    over(start + 2 * page, 2, MAP_FIXED);
    cut(&under_truth, 2);

    /* A length of zero is refused. */
    if (mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) _exit(1);

    struct truth *truths[] = {&cut_head_truth, &cut_tail_truth, &cut_middle_truth, &unmapped_truth,
                              &unmapped_in_parts_truth, &outgrown_truth, &grows, &reserved_truth,
                              &moved_away_truth, &moves, &under_truth, &over_truth};
    for (size_t i = 0; i < sizeof truths / sizeof *truths; i++) tell(truths[i]);
    tell_counter("AllocFailed", 1);
    done();
}
