/* Allocates from its very first instructions on, and ends at once: no unwind tables can be there in time. As a library
 * (-DLIBRARY) it does so as it is opened. FRAME tells builds of it apart. No two calls leave the same words on the stack. */
#include "testprog.h"

#ifndef FRAME
#define FRAME 200
#endif
#ifndef TIMES
#define TIMES 20
#endif

/* Whoever gives its address away keeps its frame. */
static void *volatile kept;

SITE static void leaf(size_t size) { keep(malloc(size)); }

SITE static void deeper(size_t size, int depth) {
    static long calls;
    union {
        char bytes[FRAME];
        long call;
    } room = {.call = 0x10000 + calls++};
    kept = &room;
    if (depth > 0) deeper(size, depth - 1);
    else leaf(size);
    kept = &room;
}

SITE static void from_constructor(void) {
    deeper(1000, 3);
    kept = NULL;
}

__attribute__((constructor)) static void early(void) {
    for (int i = 0; i < TIMES; i++) from_constructor();
}

#ifdef LIBRARY
SITE static void from_call(void) {
    deeper(1000, 3);
    kept = NULL;
}

void work(void) {
    for (int i = 0; i < TIMES; i++) from_call();
}
#else
SITE static void from_main(void) {
    deeper(1000, 3);
    kept = NULL;
}

int main(void) {
    for (int i = 0; i < 30; i++) from_main();
    return 0;
}
#endif
