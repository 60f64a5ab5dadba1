/* A leak under a filter of system calls that refuses uretprobe, as filters do that are older than it. */
#include "testprog.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

/* By its number: headers older than the call lack the name. */
enum { URETPROBE = 335, EPERM_ = 1 };

static struct truth leaked = {.site = "leak_filtered"};
SITE static void leak_filtered(size_t size) { keep(malloc(size)); }

int main(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, URETPROBE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM_),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(1);
    ready();
    for (int i = 0; i < 10; i++) {
        leak_filtered(48);
        allocated(&leaked, 48);
    }
    tell(&leaked);
    done();
}
