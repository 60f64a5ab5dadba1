/* A child that allocates, leaks, and frees blocks that it inherited: the parent's books must not change. */
#include "testprog.h"

#include <sys/wait.h>

static struct truth parents = {.site = "parent_leak"};
static struct truth children = {.site = "child_leak"};

SITE static void *parent_leak(size_t size) { return keep(malloc(size)); }
SITE static void *child_leak(size_t size) { return keep(malloc(size)); }

int main(void) {
    ready();
    void *blocks[10];
    for (int i = 0; i < 10; i++) {
        blocks[i] = parent_leak(100);
        allocated(&parents, 100);
    }
    pid_t child = fork();
    if (child < 0) _exit(1);
    if (child == 0) {
        for (int i = 0; i < 5; i++) free(blocks[i]);
        for (int i = 0; i < 7; i++) child_leak(333);
        free(child_leak(333));
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) _exit(1);
    free(blocks[8]);
    freed(&parents, 100);
    tell(&parents);
    /* Counted here for the child, whose memory is not ours. */
    for (int i = 0; i < 8; i++) allocated(&children, 333);
    freed(&children, 333);
    say("{\"child\":%d}\n", (int)child);
    tell(&children);
    done();
}
