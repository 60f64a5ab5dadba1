/* A program that runs itself again: what the first one held is gone with its memory. */
#include "testprog.h"

static struct truth after = {.site = "after_exec"};

SITE static void before_exec(size_t size) { keep(malloc(size)); }
SITE static void after_exec(size_t size) { keep(malloc(size)); }

int main(int count, char **arguments) {
    if (count == 1) {
        ready();
        for (int i = 0; i < 5; i++) before_exec(1000);
        execl("/proc/self/exe", arguments[0], "again", (char *)NULL);
        _exit(1);
    }
    for (int i = 0; i < 3; i++) {
        after_exec(777);
        allocated(&after, 777);
    }
    tell(&after);
    done();
}
