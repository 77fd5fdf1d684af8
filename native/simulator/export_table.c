/* SPDX-License-Identifier: Apache-2.0 */
/* nvmlInternalGetExportTable, which NVIDIA's nvidia-smi asks for and nothing works without (reference 4.2). One slot
 * is known to be needed: the handle of a GPU by index. The others answer that there is nothing. */
#include "call.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);

enum { TABLE_BYTES = 0x1000, SLOTS = TABLE_BYTES / sizeof(void *), SLOT_HANDLE_BY_INDEX = 81 };

/* Bytes of the table's GUID as they lie in memory. */
static const unsigned char table_guid[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                             0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};

static int handle_by_index(unsigned index, void **device, unsigned version)
{
    (void)version;
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* Lists come back through a count in the second argument, and an unwritten one printed thousands of lines of garbage;
 * in other slots that argument is a constant text. The kernel writes the zero where it can be written. */
static int nothing(void *first, unsigned *count)
{
    (void)first;
    int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (zeros < 0)
        return NVML_SUCCESS;
    ssize_t written = read(zeros, count, sizeof *count);
    (void)written;
    close(zeros);
    return NVML_SUCCESS;
}

static void *table[SLOTS];

/* Filling is idempotent, so that threads may race here. */
static void fill_table(void)
{
    for (unsigned slot = 1; slot < SLOTS; slot++)
        table[slot] = (void *)(uintptr_t)nothing;
    table[SLOT_HANDLE_BY_INDEX] = (void *)(uintptr_t)handle_by_index;
    table[0] = (void *)(uintptr_t)TABLE_BYTES;
}

EXPORT int nvmlInternalGetExportTable(const void **found, const void *guid)
{
    if (found == NULL || guid == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memcmp(guid, table_guid, sizeof table_guid) != 0)
        return NVML_ERROR_NOT_FOUND;
    fill_table();
    *found = table;
    return NVML_SUCCESS;
}
