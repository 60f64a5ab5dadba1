/* A small service: at a line on stdin it begins to work, at the next one it ends. It replaces the blocks of a working set, a
 * hundred times a second, and with `leak` as its argument it keeps one more each time. Nothing here wants more of a libc than
 * every one of them has. */
#include "testprog.h"

#include <time.h>

enum { SLOTS = 64, SIZE = 700 };

static struct truth leak = {.site = "leak_a_request"};

SITE static void leak_a_request(void) {
    keep(malloc(SIZE));
    allocated(&leak, SIZE);
}

int main(int count, char **arguments) {
    static void *blocks[SLOTS];
    int leaks = count > 1 && strcmp(arguments[1], "leak") == 0;
    ready();
    for (size_t next = 0; !a_line_came(); next = (next + 1) % SLOTS) {
        free(blocks[next]);
        blocks[next] = keep(malloc(100 + 10 * next));
        if (leaks) leak_a_request();
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    tell(&leak);
    done();
}
