/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of libvgpu share. The order of the parts, from below (tools/check_c_layers.py holds it):
 *   this folder: log, wiped and crash_points; symbols and driver, which find the driver's own functions;
 *   region/: the file that the processes of a container share;
 *   memory/: the accounting, and what the hooks do about memory;
 *   hooks/: the functions that the application calls instead of the driver's, with no logic of their own. */
#ifndef VGPU_H
#define VGPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VGPU_EXPORT __attribute__((visibility("default")))
#define VGPU_DEVICES 16 /* what HAMi's region has room for */
#define VGPU_SLOTS 1024 /* processes of one container, as in HAMi's region */

#define VGPU_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define VGPU_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* In a test build a process may be told to die or to stop at a labelled point: see crash_points.c. */
#ifdef VGPU_CRASH_POINTS
void vgpu_crash_point(const char *label);
#define CRASH_POINT(label) vgpu_crash_point(label)
#else
#define CRASH_POINT(label) ((void)0)
#endif

#endif
