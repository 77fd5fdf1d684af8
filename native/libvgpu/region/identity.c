/* SPDX-License-Identifier: Apache-2.0 */
#include "region/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -1;
    ssize_t got = read(from, buffer, size - 1);
    close(from);
    buffer[got > 0 ? got : 0] = '\0';
    return got;
}

#define STAT_SIZE 1024

/* The state and what follows it in a process's line of figures; NULL when it cannot be read. */
static const char *read_state(int64_t pid, char text[STAT_SIZE])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (pid <= 0 || read_file(path, text, STAT_SIZE) <= 0)
        return NULL;
    /* The name may hold anything, also brackets and blanks. */
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' ? name_end + 2 : NULL;
}

static bool is_zombie(const char *state)
{
    return *state == 'Z' || *state == 'X';
}

bool identity_exists(int64_t pid)
{
    char text[STAT_SIZE];
    if (pid <= 0 || (kill((pid_t)pid, 0) != 0 && errno == ESRCH))
        return false;
    const char *state = read_state(pid, text);
    return state == NULL || !is_zombie(state);
}

uint64_t identity_start_time(int64_t pid)
{
    char text[STAT_SIZE];
    const char *field = read_state(pid, text);
    if (field == NULL || is_zombie(field))
        return 0;
    for (int number = 3; number < 22; number++) {
        field = strchr(field, ' ');
        if (field == NULL)
            return 0;
        field++;
    }
    uint64_t value = 0;
    for (; *field >= '0' && *field <= '9'; field++)
        value = value * 10 + (uint64_t)(*field - '0');
    return value;
}

uint64_t identity_namespace(void)
{
    char text[64];
    ssize_t size = readlink("/proc/self/ns/pid", text, sizeof text - 1);
    text[size > 0 ? size : 0] = '\0';
    const char *digits = strchr(text, '[');
    uint64_t value = 0;
    for (digits = digits != NULL ? digits + 1 : ""; *digits >= '0' && *digits <= '9'; digits++)
        value = value * 10 + (uint64_t)(*digits - '0');
    return value;
}

/* A line of maps(5) names `major:minor inode` after three words. */
static bool line_names(const char *line, uint64_t device, uint64_t inode)
{
    unsigned major_number, minor_number;
    unsigned long long number;
    if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major_number, &minor_number, &number) != 3)
        return false;
    return number == inode && major_number == major(device) && minor_number == minor(device);
}

bool identity_maps(int64_t pid, uint64_t device, uint64_t inode)
{
    char path[64], buffer[8192];
    snprintf(path, sizeof path, "/proc/%lld/maps", (long long)pid);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return true;
    bool found = false;
    size_t kept = 0;
    ssize_t got = 0;
    for (; !found && (got = read(from, buffer + kept, sizeof buffer - 1 - kept)) > 0;) {
        size_t size = kept + (size_t)got;
        buffer[size] = '\0';
        char *line = buffer;
        for (char *end; !found && (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            found = line_names(line, device, inode);
        }
        kept = size - (size_t)(line - buffer);
        kept = kept < sizeof buffer / 2 ? kept : 0;
        memmove(buffer, line, kept);
    }
    close(from);
    return found || got < 0;
}

bool identity_of_file(int descriptor, uint64_t *device, uint64_t *inode)
{
    /* Not fstat: glibc 2.33 gave it a version of its own, which older ones do not have. */
    struct stat status;
#ifdef SYS_fstat
    if (syscall(SYS_fstat, descriptor, &status) != 0 || !S_ISREG(status.st_mode))
#else
    if (syscall(SYS_newfstatat, descriptor, "", &status, AT_EMPTY_PATH) != 0 || !S_ISREG(status.st_mode))
#endif
        return false;
    *device = status.st_dev;
    *inode = status.st_ino;
    return true;
}
