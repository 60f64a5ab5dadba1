/* many COUNT: leaves as many blocks of 32 bytes as it is told to, at one site. */
#include "testprog.h"

static struct truth left = {.site = "leave"};

SITE static void leave(void) {
    keep(malloc(32));
    allocated(&left, 32);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    ready();
    for (long i = atol(arguments[1]); i > 0; i--) leave();
    tell(&left);
    done();
}
