// Loads libraries, calls into them, unloads them; over and over, so that the same addresses become other code. Every
// hundred times it replaces itself by exec.
//
// reload SECONDS LIBRARY...
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BEFORE_EXEC 100

static int back(int depth) {
    void *block = malloc(16 + depth);
    __asm__ volatile("" : "+r"(block));
    free(block);
    return depth;
}

int main(int count, char **words) {
    if (count < 3) return 2;
    // After an exec, the time that the first one found.
    time_t end = getenv("RELOAD_END") ? atol(getenv("RELOAD_END")) : time(NULL) + atoi(words[1]);
    for (unsigned i = 0; time(NULL) < end; i++) {
        if (i == BEFORE_EXEC) {
            char text[32];
            snprintf(text, sizeof text, "%ld", (long)end);
            setenv("RELOAD_END", text, 1);
            if (getenv("LEAKTRACE_PRELOAD"))
                setenv("LD_PRELOAD", getenv("LEAKTRACE_PRELOAD"), 1);
            execv("/proc/self/exe", words);
            perror("exec");
            return 1;
        }
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
