// Loads libraries, calls into them, unloads them; over and over, so that the same addresses become other code.
//
// reload SECONDS LIBRARY...
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int back(int depth) {
    void *block = malloc(16 + depth);
    __asm__ volatile("" : "+r"(block));
    free(block);
    return depth;
}

int main(int count, char **words) {
    if (count < 3) return 2;
    time_t end = time(NULL) + atoi(words[1]);
    for (unsigned i = 0; time(NULL) < end; i++) {
        void *library = dlopen(words[2 + i % (count - 2)], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        int (*deep)(int, int (*)(int)) = (int (*)(int, int (*)(int)))dlsym(library, "plugin_deep");
        deep(i % 20, back);
        dlclose(library);
    }
    return 0;
}
