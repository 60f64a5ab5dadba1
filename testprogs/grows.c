/* Keeps a working set of blocks that it frees and allocates again for ever. At a line on stdin it goes on with the
 * same and leaks beside it; at the next line it ends its work. */
#include "testprog.h"

#include <time.h>

enum { SLOTS = 4096, SIZES = 4 };

static struct truth leak = {.site = "leak_slowly"};

SITE static void leak_slowly(size_t size) {
    keep(malloc(size));
    allocated(&leak, size);
}

/* A millisecond's work: the same sizes in turn, so that what is in use of each stays as it is but for the one block that
 * is being replaced. */
static void replace_some(void **blocks, size_t *next) {
    for (int i = 0; i < 64; i++, *next = (*next + 1) % SLOTS) {
        free(blocks[*next]);
        blocks[*next] = keep(malloc(100 + 200 * (*next % SIZES)));
    }
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

int main(void) {
    static void *blocks[SLOTS];
    size_t next = 0;
    for (size_t i = 0; i < SLOTS; i++) blocks[i] = keep(malloc(100 + 200 * (i % SIZES)));
    ready();
    while (!a_line_came()) replace_some(blocks, &next);
    while (!a_line_came()) {
        replace_some(blocks, &next);
        leak_slowly(2000);
    }
    tell(&leak);
    done();
}
