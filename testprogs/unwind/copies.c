// Two copies of one library, loaded at the same time: equal tables at two places, and stacks through both.
//
// copies ROUNDS LIBRARY LIBRARY
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef int back(int);
static int (*deep[2])(int, back *);
static int left;

static int over(int depth) {
    // From one copy into the other, some times.
    if (left-- > 0) return deep[left & 1](depth + left % 3, over);
    void *block = malloc(48);
    __asm__ volatile("" : "+r"(block));
    free(block);
    return depth;
}

int main(int count, char **words) {
    if (count < 4) return 2;
    for (int i = 0; i < 2; i++) {
        void *library = dlopen(words[2 + i], RTLD_NOW);
        if (library) deep[i] = (int (*)(int, back *))dlsym(library, "plugin_deep");
        if (!deep[i]) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
    }
    if (deep[0] == deep[1]) return 3;
    for (int i = 0; i < atoi(words[1]); i++) {
        left = i % 6;
        deep[i & 1](i % 4, over);
    }
    return 0;
}
