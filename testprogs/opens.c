/* Opens and closes the libraries that it is given, one after the other, as many times as its first argument says. If there
 * is another number behind it ("10 200") it waits so many milliseconds before and after each one's `work`. */
#include "testprog.h"

#include <dlfcn.h>

int main(int count, char **words) {
    ready();
    char *pause;
    long rounds = strtol(words[1], &pause, 10);
    useconds_t wait = (useconds_t)atoi(pause) * 1000;
    for (long round = rounds; round > 0; round--) {
        for (int library = 2; library < count; library++) {
            void *opened = dlopen(words[library], RTLD_NOW);
            if (opened == NULL) return 1;
            if (wait > 0) {
                usleep(wait);
                ((void (*)(void))dlsym(opened, "work"))();
                usleep(wait);
            }
            dlclose(opened);
        }
    }
    done();
    return 0;
}
