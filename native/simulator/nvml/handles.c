/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/handles.h"

#include "node/node.h"

#include <assert.h>
#include <stddef.h>
#include <sys/mman.h>

static_assert(sizeof(struct handle) == 64, "a handle is one aligned line");

enum { FIRST_CHUNK = 1024, MAX_CHUNKS = 24, SLOTS = 8 };

struct chunk {
    struct handle *handles;
    size_t capacity, used;
};

/* Guarded by the lock of the session, like everything that is per process. */
static struct chunk chunks[MAX_CHUNKS];
static unsigned chunk_count;
static uint32_t epoch;
static struct handle *latest[MAX_GPUS][HANDLE_KINDS][SLOTS];

void handles_new_epoch(void)
{
    epoch++;
}

static struct chunk *add_chunk(void)
{
    size_t capacity = (size_t)FIRST_CHUNK << chunk_count;
    if (chunk_count == MAX_CHUNKS)
        return NULL;
    void *memory = mmap(NULL, capacity * sizeof(struct handle), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    chunks[chunk_count] = (struct chunk){memory, capacity, 0};
    return &chunks[chunk_count++];
}

static struct handle *new_handle(void)
{
    struct chunk *chunk = chunk_count != 0 ? &chunks[chunk_count - 1] : NULL;
    if (chunk == NULL || chunk->used == chunk->capacity)
        chunk = add_chunk();
    return chunk != NULL ? &chunk->handles[chunk->used++] : NULL;
}

struct handle *handle_for(enum handle_kind kind, uint32_t gpu, uint32_t slot, uint64_t serial)
{
    struct handle **place = &latest[gpu][kind][slot];
    if (*place != NULL && (*place)->serial == serial && (*place)->epoch == epoch)
        return *place;
    struct handle *handle = new_handle();
    if (handle != NULL) {
        *handle = (struct handle){.serial = serial, .epoch = epoch, .kind = kind, .gpu = gpu, .slot = slot};
        *place = handle;
    }
    return handle;
}

const struct handle *handle_check(const void *pointer)
{
    uintptr_t address = (uintptr_t)pointer;
    for (unsigned index = chunk_count; index-- != 0;) {
        uintptr_t base = (uintptr_t)chunks[index].handles;
        size_t offset = address - base;
        if (address < base || offset >= chunks[index].used * sizeof(struct handle))
            continue;
        const struct handle *handle = pointer;
        return offset % sizeof *handle == 0 && handle->epoch == epoch ? handle : NULL;
    }
    return NULL;
}
