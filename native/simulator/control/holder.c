/* SPDX-License-Identifier: Apache-2.0 */
/* hami-sim-holder STATE UUID MEMORY_MIB [NAME]: a process that holds memory of a simulated GPU or MIG device, as a
 * CUDA job would. Prints "ready" when it does, lives until SIGTERM or until the node or its place on it is gone. */
#include "control/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, CHECKS_PER_SECOND = 5 };

static int parse_memory(const char *text, unsigned long long *memory_mib)
{
    char *end;
    errno = 0;
    *memory_mib = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* The same file still lies at the path, and still knows us: a reset or a reboot of the node ends its processes. */
static int still_there(const char *state, ino_t inode)
{
    struct stat status;
    return stat(state, &status) == 0 && status.st_ino == inode && hami_sim_process_find(state, (unsigned)getpid()) == 0;
}

static void hold(const char *state, ino_t inode, const sigset_t *ending)
{
    struct timespec interval = {0, 1000000000 / CHECKS_PER_SECOND};
    while (sigtimedwait(ending, NULL, &interval) < 0 && still_there(state, inode))
        continue;
}

int main(int count, char **arguments)
{
    char message[512] = "";
    unsigned long long memory_mib;
    struct stat status;
    sigset_t ending;
    if ((count != 4 && count != 5) || !parse_memory(arguments[3], &memory_mib)) {
        fprintf(stderr, "usage: hami-sim-holder STATE UUID MEMORY_MIB [NAME]\n");
        return EXIT_USAGE;
    }
    setsid();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    const char *name = count == 5 ? arguments[4] : "hami-sim-holder";
    if (stat(arguments[1], &status) != 0 || hami_sim_holder_add(arguments[1], arguments[2], (unsigned)getpid(),
                                                                memory_mib, name, message, sizeof message) != 0) {
        fprintf(stderr, "%s\n", message[0] != '\0' ? message : "no state file at that path");
        return EXIT_FAILURE;
    }
    printf("ready\n");
    fflush(stdout);
    hold(arguments[1], status.st_ino, &ending);
    hami_sim_process_remove(arguments[1], (unsigned)getpid(), NULL, 0);
    return EXIT_SUCCESS;
}
