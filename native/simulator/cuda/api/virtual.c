/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: virtual memory management. Physical memory is a file in memory, so that it can be mapped anywhere, several
 * times, and in other processes; it is charged when it is made and given back with its last reference. */
#include "cuda/api/virtual.h"

#include "cuda/arena.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/lock.h"
#include "cuda/object.h"
#include "cuda/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct physical {
    struct object object;
    struct cu_allocation properties;
    struct device *device; /* NULL: memory of the host */
    uint64_t size, charged;
    unsigned references; /* handles and mappings */
    unsigned handles;
    int descriptor;
};

/* A piece of a reserved range with memory behind it. */
struct mapping {
    struct mapping *next;
    cu_pointer start;
    size_t size;
    struct physical *physical;
    int access; /* 0 none, 1 read, 3 read and write */
};

static int check_properties(const struct cu_allocation *properties)
{
    if (properties == NULL || properties->type != CU_ALLOCATION_PINNED)
        return CU_ERROR_INVALID_VALUE;
    if ((properties->handle_types & ~CU_HANDLE_POSIX_FD) != 0)
        return CU_ERROR_NOT_SUPPORTED;
    if (properties->location.type == CU_LOCATION_DEVICE)
        return device_at(properties->location.id) != NULL ? CU_SUCCESS : CU_ERROR_INVALID_DEVICE;
    return properties->location.type >= CU_LOCATION_HOST && properties->location.type <= CU_LOCATION_HOST_NUMA_CURRENT
               ? CU_SUCCESS
               : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuMemGetAllocationGranularity(size_t *granularity, const struct cu_allocation *properties, int option)
{
    ENTER();
    if (granularity == NULL || option < CU_GRANULARITY_MINIMUM || option > CU_GRANULARITY_RECOMMENDED)
        return CU_ERROR_INVALID_VALUE;
    int result = check_properties(properties);
    if (result == CU_SUCCESS)
        *granularity = VIRTUAL_UNIT;
    return result;
}

static int open_physical(struct physical *physical)
{
    physical->descriptor = memfd_create("hami-sim-physical", MFD_CLOEXEC);
    if (physical->descriptor < 0)
        return CU_ERROR_OPERATING_SYSTEM;
    if (ftruncate(physical->descriptor, (off_t)physical->size) == 0)
        return CU_SUCCESS;
    close(physical->descriptor);
    return CU_ERROR_OPERATING_SYSTEM;
}

static int fill_physical(struct physical *physical, size_t size, const struct cu_allocation *properties)
{
    *physical = (struct physical){.object = physical->object,
                                  .properties = *properties,
                                  .size = size,
                                  .references = 1,
                                  .handles = 1,
                                  .descriptor = -1};
    if (properties->location.type == CU_LOCATION_DEVICE) {
        physical->device = device_at(properties->location.id);
        int result = device_take(physical->device, size);
        if (result != CU_SUCCESS)
            return result;
        physical->charged = size;
    }
    int result = open_physical(physical);
    if (result != CU_SUCCESS && physical->device != NULL)
        device_give(physical->device, size);
    return result;
}

CUDA_API int cuMemCreate(struct physical **handle, size_t size, const struct cu_allocation *properties,
                         unsigned long long flags)
{
    ENTER();
    if (handle == NULL || size == 0 || size % VIRTUAL_UNIT != 0 || flags != 0)
        return CU_ERROR_INVALID_VALUE;
    int result = check_properties(properties);
    if (result != CU_SUCCESS)
        return result;
    struct physical *physical = object_new(OBJECT_PHYSICAL);
    if (physical == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    result = fill_physical(physical, size, properties);
    if (result == CU_SUCCESS)
        *handle = physical;
    else
        object_free(physical);
    return result;
}

static void drop(struct physical *physical)
{
    if (--physical->references != 0)
        return;
    close(physical->descriptor);
    if (physical->device != NULL) {
        device_give(physical->device, physical->charged);
        device_detach(physical->device);
    }
    object_free(physical);
}

CUDA_API int cuMemRelease(void *handle)
{
    ENTER();
    driver_lock();
    struct physical *physical = object_check(handle, OBJECT_PHYSICAL);
    bool good = physical != NULL && physical->handles != 0;
    if (good) {
        physical->handles--;
        drop(physical);
    }
    driver_unlock();
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuMemAddressReserve(cu_pointer *pointer, size_t size, size_t alignment, cu_pointer wanted,
                                 unsigned long long flags)
{
    ENTER();
    (void)wanted; /* a hint */
    if (pointer == NULL || size == 0 || size % VIRTUAL_UNIT != 0 || flags != 0 || (alignment & (alignment - 1)) != 0 ||
        alignment > VIRTUAL_UNIT)
        return CU_ERROR_INVALID_VALUE;
    struct block *block = arena_take(size, BLOCK_RESERVED);
    if (block == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    if (!arena_clear(block->address, size, false)) {
        arena_give(block);
        return CU_ERROR_OPERATING_SYSTEM;
    }
    *pointer = block->address;
    return CU_SUCCESS;
}

static struct block *reserved_range(cu_pointer pointer, size_t size)
{
    struct block *block = arena_find(pointer);
    bool good = block != NULL && block->kind == BLOCK_RESERVED && size <= block->address + block->size - pointer;
    return good ? block : NULL;
}

CUDA_API int cuMemAddressFree(cu_pointer pointer, size_t size)
{
    ENTER();
    struct block *block = reserved_range(pointer, size);
    if (block == NULL || block->address != pointer || block->size != size)
        return CU_ERROR_INVALID_VALUE;
    if (block->mappings != NULL)
        return CU_ERROR_INVALID_VALUE;
    arena_clear(pointer, size, true);
    arena_give(block);
    return CU_SUCCESS;
}

static bool overlaps(const struct block *block, cu_pointer start, size_t size)
{
    for (const struct mapping *mapping = block->mappings; mapping != NULL; mapping = mapping->next)
        if (start < mapping->start + mapping->size && mapping->start < start + size)
            return true;
    return false;
}

static int map(struct block *block, const struct mapping *wanted, size_t offset)
{
    struct mapping *mapping = malloc(sizeof *mapping);
    if (mapping == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    if (mmap((void *)(uintptr_t)wanted->start, wanted->size, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
             wanted->physical->descriptor, (off_t)offset) == MAP_FAILED) {
        free(mapping);
        return CU_ERROR_OPERATING_SYSTEM;
    }
    *mapping = *wanted;
    mapping->next = block->mappings;
    block->mappings = mapping;
    mapping->physical->references++;
    return CU_SUCCESS;
}

CUDA_API int cuMemMap(cu_pointer pointer, size_t size, size_t offset, void *handle, unsigned long long flags)
{
    ENTER();
    int result = CU_ERROR_INVALID_VALUE;
    driver_lock();
    struct physical *physical = object_check(handle, OBJECT_PHYSICAL);
    struct block *block = reserved_range(pointer, size);
    if (physical != NULL && physical->handles != 0 && block != NULL && flags == 0 && offset % VIRTUAL_UNIT == 0 &&
        size != 0 && pointer % VIRTUAL_UNIT == 0 && size % VIRTUAL_UNIT == 0 && offset <= physical->size &&
        size <= physical->size - offset && !overlaps(block, pointer, size))
        result = map(block, &(struct mapping){NULL, pointer, size, physical, 0}, offset);
    driver_unlock();
    return result;
}

static size_t mapped_bytes(const struct block *block, cu_pointer start, size_t size)
{
    size_t total = 0;
    for (const struct mapping *mapping = block->mappings; mapping != NULL; mapping = mapping->next)
        if (mapping->start >= start && mapping->start + mapping->size <= start + size)
            total += mapping->size;
    return total;
}

CUDA_API int cuMemUnmap(cu_pointer pointer, size_t size)
{
    ENTER();
    driver_lock();
    struct block *block = reserved_range(pointer, size);
    bool good = block != NULL && size != 0 && mapped_bytes(block, pointer, size) == size;
    for (struct mapping **place = good ? &block->mappings : NULL; place != NULL && *place != NULL;) {
        struct mapping *mapping = *place;
        if (mapping->start < pointer || mapping->start >= pointer + size) {
            place = &mapping->next;
            continue;
        }
        arena_clear(mapping->start, mapping->size, false);
        *place = mapping->next;
        drop(mapping->physical);
        free(mapping);
    }
    driver_unlock();
    return good ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

static int set_access(struct block *block, cu_pointer start, size_t size, int access)
{
    int protection = access == 0 ? PROT_NONE : access == 1 ? PROT_READ : PROT_READ | PROT_WRITE;
    if (mapped_bytes(block, start, size) != size)
        return CU_ERROR_INVALID_VALUE;
    for (struct mapping *mapping = block->mappings; mapping != NULL; mapping = mapping->next)
        if (mapping->start >= start && mapping->start < start + size)
            mapping->access = access;
    return mprotect((void *)(uintptr_t)start, size, protection) == 0 ? CU_SUCCESS : CU_ERROR_OPERATING_SYSTEM;
}

CUDA_API int cuMemSetAccess(cu_pointer pointer, size_t size, const struct cu_access *accesses, size_t count)
{
    ENTER();
    int result = CU_SUCCESS;
    struct block *block = reserved_range(pointer, size);
    if (block == NULL || size == 0 || accesses == NULL || count == 0)
        return CU_ERROR_INVALID_VALUE;
    driver_lock();
    for (size_t index = 0; index < count && result == CU_SUCCESS; index++) {
        int flags = accesses[index].flags;
        bool known = flags == 0 || flags == 1 || flags == 3;
        if (accesses[index].location.type == CU_LOCATION_DEVICE && device_at(accesses[index].location.id) == NULL)
            result = CU_ERROR_INVALID_DEVICE;
        else
            result = known ? set_access(block, pointer, size, flags) : CU_ERROR_INVALID_VALUE;
    }
    driver_unlock();
    return result;
}

static struct mapping *mapping_at(const struct block *block, cu_pointer address)
{
    for (struct mapping *mapping = block->mappings; mapping != NULL; mapping = mapping->next)
        if (address >= mapping->start && address - mapping->start < mapping->size)
            return mapping;
    return NULL;
}

bool range_is_mapped(const struct block *block, cu_pointer address, size_t size)
{
    cu_pointer end = address + size;
    while (address < end) {
        const struct mapping *mapping = mapping_at(block, address);
        if (mapping == NULL || mapping->access != 3)
            return false;
        address = mapping->start + mapping->size;
    }
    return true;
}

CUDA_API int cuMemGetAccess(unsigned long long *flags, const struct cu_location *location, cu_pointer pointer)
{
    ENTER();
    const struct block *block = reserved_range(pointer, 1);
    const struct mapping *mapping = block != NULL ? mapping_at(block, pointer) : NULL;
    if (flags == NULL || location == NULL || mapping == NULL)
        return CU_ERROR_INVALID_VALUE;
    *flags = (unsigned long long)mapping->access;
    return CU_SUCCESS;
}

CUDA_API int cuMemRetainAllocationHandle(void **handle, void *address)
{
    ENTER();
    driver_lock();
    const struct block *block = reserved_range((cu_pointer)(uintptr_t)address, 1);
    struct mapping *mapping = block != NULL ? mapping_at(block, (cu_pointer)(uintptr_t)address) : NULL;
    if (mapping != NULL && handle != NULL) {
        mapping->physical->references++;
        mapping->physical->handles++;
        *handle = mapping->physical;
    }
    driver_unlock();
    return mapping != NULL && handle != NULL ? CU_SUCCESS : CU_ERROR_INVALID_VALUE;
}

CUDA_API int cuMemGetAllocationPropertiesFromHandle(struct cu_allocation *properties, void *handle)
{
    ENTER();
    const struct physical *physical = object_check(handle, OBJECT_PHYSICAL);
    if (properties == NULL || physical == NULL)
        return CU_ERROR_INVALID_VALUE;
    *properties = physical->properties;
    return CU_SUCCESS;
}

CUDA_API int cuMemExportToShareableHandle(void *shareable, void *handle, int type, unsigned long long flags)
{
    ENTER();
    const struct physical *physical = object_check(handle, OBJECT_PHYSICAL);
    if (shareable == NULL || physical == NULL || flags != 0 || type != CU_HANDLE_POSIX_FD ||
        (physical->properties.handle_types & type) == 0)
        return CU_ERROR_INVALID_VALUE;
    int descriptor = fcntl(physical->descriptor, F_DUPFD_CLOEXEC, 3);
    if (descriptor < 0)
        return CU_ERROR_OPERATING_SYSTEM;
    memcpy(shareable, &descriptor, sizeof descriptor);
    return CU_SUCCESS;
}

/* The memory is its maker's: importing it costs the importer nothing. */
CUDA_API int cuMemImportFromShareableHandle(struct physical **handle, void *shareable, int type)
{
    ENTER();
    struct stat status;
    int descriptor = (int)(intptr_t)shareable;
    if (handle == NULL || type != CU_HANDLE_POSIX_FD || descriptor < 0 || fstat(descriptor, &status) != 0 ||
        status.st_size == 0 || status.st_size % VIRTUAL_UNIT != 0)
        return CU_ERROR_INVALID_VALUE;
    struct physical *physical = object_new(OBJECT_PHYSICAL);
    if (physical == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    physical->properties = (struct cu_allocation){
        .type = CU_ALLOCATION_PINNED, .handle_types = CU_HANDLE_POSIX_FD, .location = {CU_LOCATION_DEVICE, 0}};
    physical->size = (uint64_t)status.st_size;
    physical->references = physical->handles = 1;
    physical->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    if (physical->descriptor >= 0) {
        *handle = physical;
        return CU_SUCCESS;
    }
    object_free(physical);
    return CU_ERROR_OPERATING_SYSTEM;
}
