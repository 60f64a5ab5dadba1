// A library that is loaded and unloaded; compiled several times with other frames at nearly the same addresses.
#include <stdlib.h>

void *volatile plugin_sink;

__attribute__((noinline)) int plugin_deep(int depth, int (*back)(int)) {
    volatile char frame[SIZE];
    frame[depth % SIZE] = depth;
    plugin_sink = malloc(SIZE);
    free(plugin_sink);
    int r = depth <= 0 ? back(depth) : plugin_deep(depth - 1, back);
    return r + frame[depth % SIZE];
}
