/* Leaks a block every few milliseconds. At the first line on stdin all of them are freed, without any probe seeing it: by a
 * child that shares this process's memory. From then on it leaks larger ones, so that none takes a free one's place; at the
 * second line it ends. Argument "keeps": nothing is freed at the first line. */
#define _GNU_SOURCE
#include "testprog.h"

#include <poll.h>
#include <stdbool.h>

/* Too large for a thread's cache and for fastbins, whose chunks keep the marks of one in use. */
enum { SIZE = 2000, LARGER = 3000, SMALL = 24, MOST = 1 << 16 };
static void *blocks[MOST];
static int number;

SITE static void leak_request(size_t size) {
    if (number == MOST) _exit(1);
    blocks[number++] = keep(malloc(size));
}

/* Keeps neighbours apart, so that each stays a chunk of its own when it is free. */
SITE static void *separate(void) { return keep(malloc(SMALL)); }

/* Until a line comes. */
SITE static void leak_until_told(size_t size) {
    struct pollfd line = {.fd = 0, .events = POLLIN};
    while (poll(&line, 1, 5) == 0) {
        leak_request(size);
        if (size == SIZE) separate();
    }
    wait_for_line();
}

int main(int count, char **arguments) {
    bool keeps = count > 1 && !strcmp(arguments[1], "keeps");
    ready();
    /* From one call site: one stack. */
    for (volatile int line = 0; line < 2; line++) {
        leak_until_told(line ? LARGER : SIZE);
        if (line || keeps) continue;
        if (vfork() == 0) {
            for (int i = 0; i < number; i++) free(blocks[i]);
            _exit(0);
        }
    }
    say("{\"leaked\":%d}\n", number);
    done();
}
