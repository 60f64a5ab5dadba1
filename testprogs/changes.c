/* Three steps, each at a line on stdin and told by a line on stdout: 60 blocks of 1000 bytes; 40 of them are freed and
 * there are 30 of 5000; 10 of these are freed and there are 7 of 300. */
#include "testprog.h"

enum { MOST = 60 };
static void *old[MOST], *large[MOST], *small[MOST];

SITE static void *allocate_old(void) { return keep(malloc(1000)); }
SITE static void *allocate_large(void) { return keep(malloc(5000)); }
SITE static void *allocate_small(void) { return keep(malloc(300)); }

static void told(int step) {
    say("{\"step\":%d}\n", step);
}

int main(void) {
    ready();
    for (int i = 0; i < 60; i++) old[i] = allocate_old();
    told(1);
    wait_for_line();
    for (int i = 0; i < 40; i++) free(old[i]);
    for (int i = 0; i < 30; i++) large[i] = allocate_large();
    told(2);
    wait_for_line();
    for (int i = 0; i < 10; i++) free(large[i]);
    for (int i = 0; i < 7; i++) small[i] = allocate_small();
    told(3);
    wait_for_line();
    done();
}
