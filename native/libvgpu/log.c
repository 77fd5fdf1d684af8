/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int threshold = VGPU_ERROR;

void vgpu_log_level(int level)
{
    atomic_store_explicit(&threshold, level < VGPU_ERROR ? VGPU_ERROR : level, memory_order_relaxed);
}

void vgpu_log(enum vgpu_level level, const char *format, ...)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    int kept = errno;
    char line[500];
    int used = snprintf(line, sizeof line, "libvgpu[%d] %s: ", (int)getpid(), names[level]);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    size_t size = (size_t)used + (more < 0 ? 0 : (size_t)more);
    if (size > sizeof line - 2)
        size = sizeof line - 2;
    line[size++] = '\n';
    /* If stderr is gone, there is no way to report it. */
    if (write(STDERR_FILENO, line, size) < 0)
        errno = kept;
    errno = kept;
}
