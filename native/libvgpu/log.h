/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on stderr, by LIBCUDA_LOG_LEVEL as HAMi-core has it: 0 and 1 errors, 2 warnings, 3 information, 4 all. */
#ifndef VGPU_LOG_H
#define VGPU_LOG_H

enum vgpu_level { VGPU_ERROR = 1, VGPU_WARNING, VGPU_INFO, VGPU_DEBUG };

void vgpu_log_level(int level);

/* One line, cut at 500 bytes; allocates nothing and keeps errno. */
__attribute__((format(printf, 2, 3))) void vgpu_log(enum vgpu_level level, const char *format, ...);

#endif
