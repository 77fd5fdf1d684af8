/* SPDX-License-Identifier: Apache-2.0 */
#include "node/store.h"

#include "nvml_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Version of the layout of the file; raise it with every change of struct node or struct store_header. */
enum { STORE_VERSION = 2, LOCK_PATIENCE_SECONDS = 30 };

static const char store_magic[8] = "HAMISIM";

static int fail(char *message, size_t size, int result, const char *path, const char *reason)
{
    snprintf(message, size, "%s: %s", path, reason);
    return result;
}

static int fail_errno(char *message, size_t size, const char *path)
{
    int result = errno == EACCES || errno == EPERM ? NVML_ERROR_NO_PERMISSION : NVML_ERROR_DRIVER_NOT_LOADED;
    return fail(message, size, result, path, strerror(errno));
}

static void read_boot_id(char boot_id[40])
{
    int descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    memset(boot_id, 0, 40);
    if (descriptor >= 0) {
        ssize_t length = read(descriptor, boot_id, 36);
        boot_id[length < 0 ? 0 : length] = '\0';
        close(descriptor);
    }
}

static void make_lock(struct store_header *header)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    memset(&header->lock, 0, sizeof header->lock);
    pthread_mutex_init(&header->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static void make_header(struct store_header *header, uint64_t inode)
{
    memcpy(header->magic, store_magic, sizeof header->magic);
    header->version = STORE_VERSION;
    header->header_size = sizeof *header;
    header->node_size = sizeof(struct node);
    header->fingerprint = board_fingerprint;
    header->lock_size = sizeof header->lock;
    read_boot_id(header->boot_id);
    header->inode = inode;
    make_lock(header);
}

static int write_new_file(int descriptor, const struct spec *spec, const char *path, char *message, size_t size)
{
    struct stat status;
    /* Allocated, not sparse: on a full disk a page of a sparse file would be a SIGBUS in the middle of a call. */
    int problem = posix_fallocate(descriptor, 0, sizeof(struct store_file));
    if (problem != 0) {
        errno = problem;
        return fail_errno(message, size, path);
    }
    if (fstat(descriptor, &status) != 0)
        return fail_errno(message, size, path);
    struct store_file *file = mmap(NULL, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (file == MAP_FAILED)
        return fail_errno(message, size, path);
    node_make(&file->nodes[0], spec);
    make_header(&file->header, status.st_ino);
    munmap(file, sizeof *file);
    return NVML_SUCCESS;
}

/* Atomic: a finished temporary file is linked to its name, which fails if the name is taken.
 * Mode 0600: a user who can write the file controls the node and its lock, so sharing it must be explicit (chmod). */
int store_create(const char *path, const struct spec *spec, char *message, size_t size)
{
    char temporary[PATH_MAX];
    if (path == NULL || path[0] == '\0')
        return fail(message, size, NVML_ERROR_INVALID_ARGUMENT, "state file", "no path given");
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary)
        return fail(message, size, NVML_ERROR_INVALID_ARGUMENT, "state file", "the path is too long");
    int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0)
        return fail_errno(message, size, path);
    int result = write_new_file(descriptor, spec, path, message, size);
    close(descriptor);
    if (result == NVML_SUCCESS && link(temporary, path) != 0)
        result = errno == EEXIST ? fail(message, size, NVML_ERROR_IN_USE, path, "exists already; remove it first")
                                 : fail_errno(message, size, path);
    unlink(temporary);
    return result;
}

static const char *foreign_header(const struct store_header *header, off_t length)
{
    if (memcmp(header->magic, store_magic, sizeof header->magic) != 0)
        return "is not the state of a simulated node";
    if (header->version != STORE_VERSION || header->header_size != sizeof *header ||
        header->node_size != sizeof(struct node) || header->lock_size != sizeof header->lock ||
        header->fingerprint != board_fingerprint)
        return "was made by another version of the simulator; delete it and create it again";
    return length != (off_t)sizeof(struct store_file) ? "is cut short or too long for a node state" : NULL;
}

/* Under flock, which a dead process cannot keep: after a reboot or in a copy of the file the lock may name an owner
 * that no longer exists, so the lock is initialised again. */
static int adopt_lock(int descriptor, struct store_file *file, uint64_t inode)
{
    char boot_id[40];
    read_boot_id(boot_id);
    while (flock(descriptor, LOCK_EX) != 0)
        if (errno != EINTR)
            return NVML_ERROR_UNKNOWN;
    if (memcmp(boot_id, file->header.boot_id, sizeof boot_id) != 0 || file->header.inode != inode) {
        make_lock(&file->header);
        memcpy(file->header.boot_id, boot_id, sizeof boot_id);
        file->header.inode = inode;
    }
    flock(descriptor, LOCK_UN);
    return NVML_SUCCESS;
}

static int map_file(struct store *store, const char *path, char *message, size_t size)
{
    struct store_header header = {0};
    struct stat status;
    if (fstat(store->descriptor, &status) != 0)
        return fail_errno(message, size, path);
    if (!S_ISREG(status.st_mode) || pread(store->descriptor, &header, sizeof header, 0) != (ssize_t)sizeof header)
        return fail(message, size, NVML_ERROR_UNKNOWN, path, "is not the state of a simulated node");
    const char *reason = foreign_header(&header, status.st_size);
    if (reason != NULL)
        return fail(message, size, NVML_ERROR_LIB_RM_VERSION_MISMATCH, path, reason);
    void *file = mmap(NULL, sizeof(struct store_file), PROT_READ | PROT_WRITE, MAP_SHARED, store->descriptor, 0);
    if (file == MAP_FAILED)
        return fail_errno(message, size, path);
    store->file = file;
    return adopt_lock(store->descriptor, store->file, status.st_ino);
}

int store_open(struct store *store, const char *path, char *message, size_t size)
{
    *store = STORE_CLOSED;
    store->descriptor = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (store->descriptor < 0)
        return fail_errno(message, size, path);
    int result = map_file(store, path, message, size);
    if (result == NVML_SUCCESS) {
        result = store_lock(store);
        if (result == NVML_SUCCESS)
            store_unlock(store);
        else
            fail(message, size, result, path, "its content is damaged, or another process keeps its lock");
    }
    if (result != NVML_SUCCESS)
        store_close(store);
    return result;
}

int store_open_private(struct store *store, const struct spec *spec, char *message, size_t size)
{
    *store = STORE_CLOSED;
    void *file = mmap(NULL, sizeof(struct store_file), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (file == MAP_FAILED)
        return fail_errno(message, size, "memory");
    store->file = file;
    node_make(&store->file->nodes[0], spec);
    return NVML_SUCCESS;
}

void store_close(struct store *store)
{
    if (store->file != NULL)
        munmap(store->file, sizeof *store->file);
    if (store->descriptor >= 0)
        close(store->descriptor);
    *store = STORE_CLOSED;
}

/* A file that was removed, replaced or cut is a driver that is gone; touching a cut mapping would be a SIGBUS. */
static bool file_is_there(const struct store *store)
{
    struct stat status;
    return fstat(store->descriptor, &status) == 0 && status.st_nlink != 0 &&
           status.st_size == (off_t)sizeof(struct store_file);
}

/* A stopped process may hold the lock for as long as it likes; after this patience a call answers TIMEOUT. */
static int lock_patiently(pthread_mutex_t *lock)
{
    struct timespec deadline;
    int problem = pthread_mutex_trylock(lock);
    if (problem == EBUSY) {
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += LOCK_PATIENCE_SECONDS;
        problem = pthread_mutex_timedlock(lock, &deadline);
    }
    if (problem == EOWNERDEAD)
        problem = pthread_mutex_consistent(lock);
    if (problem == ETIMEDOUT)
        return NVML_ERROR_TIMEOUT;
    return problem == 0 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

/* What others wrote since the last look is checked before it is trusted. */
static int check_new_generation(struct store *store)
{
    uint32_t generation = atomic_load(&store->file->header.generation);
    if (store->checked && generation == store->sound_generation)
        return NVML_SUCCESS;
    if (!node_is_sound(store_current(store)))
        return NVML_ERROR_UNKNOWN;
    store->checked = true;
    store->sound_generation = generation;
    return NVML_SUCCESS;
}

int store_lock(struct store *store)
{
    int result = NVML_SUCCESS;
    if (store->descriptor >= 0 && !file_is_there(store))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (store->descriptor >= 0)
        result = lock_patiently(&store->file->header.lock);
    if (result != NVML_SUCCESS)
        return result;
    if (store->descriptor >= 0)
        result = check_new_generation(store);
    if (result == NVML_SUCCESS)
        usage_refresh(&store->file->usage, store_current(store));
    else
        store_unlock(store);
    return result;
}

void store_unlock(struct store *store)
{
    if (store->descriptor >= 0)
        pthread_mutex_unlock(&store->file->header.lock);
}

struct node *store_current(struct store *store)
{
    return &store->file->nodes[atomic_load(&store->file->header.generation) & 1];
}

struct node *store_begin_change(struct store *store)
{
    struct node *spare = &store->file->nodes[(atomic_load(&store->file->header.generation) + 1) & 1];
    node_copy(spare, store_current(store));
    return spare;
}

/* A process killed between the two lines delays waiters until they look again by themselves, no more. */
static void wake_event_waiters(struct store_header *header)
{
    atomic_fetch_add(&header->event_signal, 1);
    syscall(SYS_futex, &header->event_signal, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void store_commit(struct store *store)
{
    struct store_file *file = store->file;
    bool has_events = file->nodes[0].next_event != file->nodes[1].next_event;
    atomic_fetch_add(&file->header.generation, 1);
    store->sound_generation++;
    if (has_events)
        wake_event_waiters(&file->header);
}
