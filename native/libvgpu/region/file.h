/* SPDX-License-Identifier: Apache-2.0 */
/* The region's file: its descriptor, which a program may close behind our back, and the record locks of the slots. */
#ifndef VGPU_REGION_FILE_H
#define VGPU_REGION_FILE_H

#include "vgpu.h"

/* Opens the file, makes it at least so large, and opens it again when its descriptor was closed; false (and errno) when
 * that is not possible, or when another file bears the name by now. */
bool region_file_ensure(const char *path, uint64_t size);

/* True when the descriptor is still ours and not some other file's, which took its number. */
bool region_file_held(void);

/* Its bytes, shared; NULL when they cannot be mapped. */
void *region_file_map(uint64_t size);

/* Takes a slot's lock, without waiting; false when another process holds it. */
bool region_file_lock(int slot);
void region_file_unlock(int slot);

/* True when another process holds the slot's lock. */
bool region_file_is_locked(int slot);

/* True when the process maps the file, or when that cannot be read. */
bool region_file_mapped_by(int64_t pid);

#endif
