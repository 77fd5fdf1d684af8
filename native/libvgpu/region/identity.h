/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is, and which file a descriptor means, by /proc and system calls that every glibc has. */
#ifndef VGPU_IDENTITY_H
#define VGPU_IDENTITY_H

#include "vgpu.h"

/* When it was started, in clock ticks since boot; 0 for a process that is not there, or a zombie. */
uint64_t identity_start_time(int64_t pid);

/* False when there is certainly no such process in this pid namespace, or a zombie; true also when that cannot be read. */
bool identity_exists(int64_t pid);

/* The inode of this process's pid namespace; 0 when /proc does not say it. */
uint64_t identity_namespace(void);

/* True when the process maps the file, or when that cannot be read. */
bool identity_maps(int64_t pid, uint64_t device, uint64_t inode);

/* Device and inode of a regular file; false for what is none. */
bool identity_of_file(int descriptor, uint64_t *device, uint64_t *inode);

#endif
