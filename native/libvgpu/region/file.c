/* SPDX-License-Identifier: Apache-2.0 */
#include "region/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "region/identity.h"

#define LOCKS ((off_t)1 << 40) /* the bytes of the slots' locks: behind the end of any file */

static atomic_int descriptor = -1;
static struct file_identity {
    uint64_t device, inode;
} file;

/* Opens the file and makes sure that it has its size. It never shrinks an existing file. */
static int open_file(const char *path, uint64_t wanted)
{
    int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (opened < 0)
        return -1;
    /* Out of the numbers that programs close in a row when they become daemons. */
    int high = fcntl(opened, F_DUPFD_CLOEXEC, 700);
    if (high >= 0) {
        close(opened);
        opened = high;
    }
    off_t size = lseek(opened, 0, SEEK_END);
    uint64_t device, inode;
    bool fits = identity_of_file(opened, &device, &inode) && size >= 0;
    if (fits && size < (off_t)wanted)
        fits = ftruncate(opened, (off_t)wanted) == 0;
    if (!fits) {
        int kept = errno;
        close(opened);
        errno = kept;
        return -1;
    }
    /* Override this process's umask: the container's other users share the file. Only the owner can do this. */
    if (fchmod(opened, 0666) != 0 && size == 0)
        vgpu_log(VGPU_WARNING, "cannot share '%s' with other users: %s", path, strerror(errno));
    file = (struct file_identity){device, inode};
    return opened;
}

static bool set_lock(int slot, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = LOCKS + slot, .l_len = 1};
    return fcntl(atomic_load(&descriptor), F_SETLK, &lock) == 0;
}

bool region_file_lock(int slot)
{
    return set_lock(slot, F_WRLCK);
}

void region_file_unlock(int slot)
{
    set_lock(slot, F_UNLCK);
}

bool region_file_is_locked(int slot)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS + slot, .l_len = 1};
    return fcntl(atomic_load(&descriptor), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool region_file_held(void)
{
    uint64_t device, inode;
    int held = atomic_load(&descriptor);
    return held >= 0 && identity_of_file(held, &device, &inode) && device == file.device && inode == file.inode;
}

bool region_file_ensure(const char *path, uint64_t size)
{
    if (region_file_held())
        return true;
    struct file_identity before = file;
    int opened = open_file(path, size);
    if (opened < 0)
        return false;
    if (before.inode != 0 && (before.device != file.device || before.inode != file.inode)) {
        /* Another file bears the name by now; ours lives in our mapping alone. */
        file = before;
        close(opened);
        return false;
    }
    atomic_store(&descriptor, opened);
    return true;
}

void *region_file_map(uint64_t size)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, atomic_load(&descriptor), 0);
    return mapped != MAP_FAILED ? mapped : NULL;
}

bool region_file_mapped_by(int64_t pid)
{
    return identity_maps(pid, file.device, file.inode);
}
