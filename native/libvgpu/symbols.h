/* SPDX-License-Identifier: Apache-2.0 */
/* The dynamic linker's functions without our own dlsym between, found in the loaded objects themselves: no symbol version
 * of libdl or libc is needed for it, so that one file serves glibc before and after 2.34. */
#ifndef VGPU_SYMBOLS_H
#define VGPU_SYMBOLS_H

#include <stddef.h>

/* dlsym as libc has it; NULL in a process without (a static one). */
void *symbols_real_dlsym(void *handle, const char *name);

/* dlopen as libc has it. */
void *symbols_dlopen(const char *name, int mode);

/* The file name of the object that holds an address, or an empty text. */
const char *symbols_object_of(const void *address);

#endif
