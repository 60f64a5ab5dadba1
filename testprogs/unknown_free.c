/* Blocks from before the tracer came, freed while it watches. */
#include "testprog.h"

enum { BEFORE = 1000 };

static struct truth news = {.site = "new_block"}, regrown = {.site = "regrow"};

SITE static void *old_block(size_t size) { return keep(malloc(size)); }
SITE static void *new_block(size_t size) { return keep(malloc(size)); }
SITE static void *regrow(void *block, size_t size) { return keep(realloc(block, size)); }

int main(void) {
    static void *blocks[BEFORE];
    for (int i = 0; i < BEFORE; i++) blocks[i] = old_block(128);
    ready();
    for (int i = 0; i < BEFORE - 1; i++) free(blocks[i]);
    /* realloc ends an unknown block as well, and makes one that is known. */
    regrow(blocks[BEFORE - 1], 9000);
    allocated(&regrown, 9000);
    for (int i = 0; i < 3; i++) {
        new_block(128);
        allocated(&news, 128);
    }
    tell(&news);
    tell(&regrown);
    tell_counter("FreeUnknown", BEFORE);
    done();
}
