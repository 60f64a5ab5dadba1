/* An allocator with one of tcmalloc's names that may throw: its returns are probed where they are, and not by the
 * kernel's return probe, which the C++ unwinder could not pass. */
#include "testprog.h"

static _Alignas(16) char arena[1 << 16];
static size_t used;

__attribute__((noinline)) void *tc_new(size_t size) {
    if (size > sizeof arena - used) return NULL;
    char *block = arena + used;
    used += (size + 15) & ~(size_t)15;
    return keep(block);
}

__attribute__((noinline)) void tc_delete(void *block) { keep(block); }

static struct truth leaked = {.site = "new_leak"}, paired = {.site = "new_pair"};

SITE static void *new_leak(size_t size) { return keep(tc_new(size)); }
SITE static void *new_pair(size_t size) { return keep(tc_new(size)); }

int main(void) {
    ready();
    for (int i = 0; i < 20; i++) {
        if (!new_leak(40)) _exit(1);
        allocated(&leaked, 40);
        void *block = new_pair(60);
        if (!block) _exit(1);
        allocated(&paired, 60);
        tc_delete(block);
        freed(&paired, 60);
    }
    tell(&leaked);
    tell(&paired);
    tell_counter("FreeUnknown", 0);
    done();
}
