/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: memory between processes, by IPC handles and as external memory. The process that allocated it is charged. */
#include "cuda/api/ipc.h"

#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/frame.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "node/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What an IPC handle says; it means something while its maker lives. */
struct ticket {
    uint32_t pid, descriptor;
    uint64_t start_time, offset, size, unit_size, id;
};
_Static_assert(sizeof(struct ticket) <= sizeof(struct cu_ipc_handle), "a handle holds a ticket");

static bool write_all(int descriptor, const char *data, size_t size)
{
    while (size != 0) {
        ssize_t written = write(descriptor, data, size);
        if (written <= 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

/* The units that are files by now, with the blocks in them that others may open. */
struct shared_unit {
    struct shared_unit *next;
    cu_pointer start;
    int descriptor;
    unsigned blocks;
};
static struct shared_unit *shared_units;

static struct shared_unit **find_unit(cu_pointer start)
{
    struct shared_unit **place = &shared_units;
    while (*place != NULL && (*place)->start != start)
        place = &(*place)->next;
    return place;
}

/* Puts a file of the same content under a unit; the blocks in it go on as before. */
static struct shared_unit *make_unit(cu_pointer start, size_t size)
{
    struct shared_unit *unit = malloc(sizeof *unit);
    int descriptor = unit != NULL ? memfd_create("hami-sim-ipc", MFD_CLOEXEC) : -1;
    if (descriptor >= 0 && write_all(descriptor, (const char *)(uintptr_t)start, size) &&
        mmap((void *)(uintptr_t)start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) !=
            MAP_FAILED) {
        *unit = (struct shared_unit){shared_units, start, descriptor, 0};
        shared_units = unit;
        return unit;
    }
    if (descriptor >= 0)
        close(descriptor);
    free(unit);
    return NULL;
}

static int share(struct block *block)
{
    cu_pointer start;
    size_t size;
    arena_extent(block, &start, &size);
    struct shared_unit *unit = *find_unit(start);
    if (unit == NULL)
        unit = make_unit(start, size);
    if (unit == NULL)
        return CU_ERROR_OPERATING_SYSTEM;
    unit->blocks++;
    block->descriptor = unit->descriptor + 1;
    return CU_SUCCESS;
}

/* A block with units of its own gets fresh memory; others keep the file that they share. */
void ipc_unshare(struct block *block)
{
    cu_pointer start;
    size_t size;
    arena_extent(block, &start, &size);
    driver_lock();
    struct shared_unit **place = find_unit(start), *unit = *place;
    if (unit != NULL && --unit->blocks == 0) {
        if (block->size > VIRTUAL_UNIT / 2)
            arena_clear(start, size, true);
        *place = unit->next;
        close(unit->descriptor);
        free(unit);
    }
    driver_unlock();
}

CUDA_API int cuIpcGetMemHandle(struct cu_ipc_handle *handle, cu_pointer pointer)
{
    ENTER_CONTEXT();
    int result = CU_SUCCESS;
    driver_lock();
    struct block *block = arena_find(pointer);
    if (handle == NULL || block == NULL || block->kind != BLOCK_LINEAR)
        result = CU_ERROR_INVALID_VALUE;
    else if (block->descriptor == 0)
        result = share(block);
    if (result == CU_SUCCESS) {
        cu_pointer start;
        size_t size;
        arena_extent(block, &start, &size);
        struct ticket ticket = {(uint32_t)getpid(),
                                (uint32_t)block->descriptor - 1,
                                process_start_time((uint32_t)getpid()),
                                block->address - start,
                                block->size,
                                size,
                                block->id};
        memset(handle, 0, sizeof *handle);
        memcpy(handle, &ticket, sizeof ticket);
    }
    driver_unlock();
    return result;
}

static int open_ticket(const struct ticket *ticket, struct block **opened)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%u/fd/%u", ticket->pid, ticket->descriptor);
    int descriptor = process_start_time(ticket->pid) == ticket->start_time ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return CU_ERROR_INVALID_VALUE;
    bool sound = fstat(descriptor, &status) == 0 && (uint64_t)status.st_size == ticket->unit_size &&
                 ticket->unit_size != 0 && ticket->offset <= ticket->unit_size &&
                 ticket->size <= ticket->unit_size - ticket->offset;
    struct block *block = sound ? arena_take(ticket->unit_size + VIRTUAL_UNIT / 2, BLOCK_IMPORTED) : NULL;
    int result = sound ? CU_ERROR_OUT_OF_MEMORY : CU_ERROR_INVALID_VALUE;
    if (block != NULL && mmap((void *)(uintptr_t)block->address, ticket->unit_size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_FIXED, descriptor, 0) != MAP_FAILED)
        result = CU_SUCCESS;
    else if (block != NULL)
        arena_give(block);
    close(descriptor);
    *opened = block;
    return result;
}

CUDA_API int cuIpcOpenMemHandle_v2(cu_pointer *pointer, struct cu_ipc_handle handle, unsigned flags)
{
    ENTER_CONTEXT();
    struct ticket ticket;
    struct block *block = NULL;
    memcpy(&ticket, &handle, sizeof ticket);
    if (pointer == NULL || flags > 1)
        return CU_ERROR_INVALID_VALUE;
    if (ticket.pid == (uint32_t)getpid())
        return CU_ERROR_INVALID_CONTEXT;
    int result = open_ticket(&ticket, &block);
    if (result != CU_SUCCESS)
        return result;
    block->device = device_of_current();
    block->context = thread.current;
    *pointer = block->address + ticket.offset;
    return CU_SUCCESS;
}

CUDA_API int cuIpcOpenMemHandle(cu_pointer *pointer, struct cu_ipc_handle handle, unsigned flags)
{
    return cuIpcOpenMemHandle_v2(pointer, handle, flags);
}

void ipc_close(struct block *block)
{
    cu_pointer start;
    size_t size;
    arena_extent(block, &start, &size);
    arena_clear(start, size, true);
    arena_give(block);
}

CUDA_API int cuIpcCloseMemHandle(cu_pointer pointer)
{
    ENTER_CONTEXT();
    struct block *block = arena_find(pointer);
    if (block == NULL || block->kind != BLOCK_IMPORTED || block->owner != NULL)
        return CU_ERROR_INVALID_VALUE;
    ipc_close(block);
    return CU_SUCCESS;
}

/* External memory: a file in memory that some other API made. */
struct external {
    struct object object;
    int descriptor;
    uint64_t size;
};

CUDA_API int cuImportExternalMemory(struct external **handle, const struct cu_external_memory *description)
{
    ENTER_CONTEXT();
    struct stat status;
    if (handle == NULL || description == NULL || description->size == 0)
        return CU_ERROR_INVALID_VALUE;
    if (description->type != CU_EXTERNAL_OPAQUE_FD)
        return CU_ERROR_NOT_SUPPORTED;
    if (fstat(description->descriptor, &status) != 0 || (uint64_t)status.st_size < description->size)
        return CU_ERROR_INVALID_VALUE;
    struct external *external = object_new(OBJECT_EXTERNAL);
    if (external == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    external->descriptor = description->descriptor; /* it is the driver's from now on */
    external->size = description->size;
    *handle = external;
    return CU_SUCCESS;
}

CUDA_API int cuExternalMemoryGetMappedBuffer(cu_pointer *pointer, void *handle,
                                             const struct cu_external_buffer *description)
{
    ENTER_CONTEXT();
    const struct external *external = object_check(handle, OBJECT_EXTERNAL);
    if (external == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (pointer == NULL || description == NULL || description->flags != 0 || description->size == 0 ||
        description->offset > external->size || description->size > external->size - description->offset)
        return CU_ERROR_INVALID_VALUE;
    uint64_t skip = description->offset % 4096, size = round_up(description->size + skip, 4096);
    struct block *block = arena_take(size + VIRTUAL_UNIT / 2, BLOCK_LINEAR);
    if (block == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    if (mmap((void *)(uintptr_t)block->address, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             external->descriptor, (off_t)(description->offset - skip)) == MAP_FAILED) {
        arena_give(block);
        return CU_ERROR_MAP_FAILED;
    }
    block->device = device_of_current();
    block->context = thread.current;
    block->owner = (void *)(uintptr_t)external;
    *pointer = block->address + skip;
    return CU_SUCCESS;
}

CUDA_API int cuDestroyExternalMemory(void *handle)
{
    ENTER();
    struct external *external = object_check(handle, OBJECT_EXTERNAL);
    if (external == NULL)
        return CU_ERROR_INVALID_HANDLE;
    close(external->descriptor);
    object_free(external);
    return CU_SUCCESS;
}
