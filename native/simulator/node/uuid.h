/* SPDX-License-Identifier: Apache-2.0 */
/* Deterministic UUIDs (version 5: SHA-1 over a namespace and a name), as the driver derives them. */
#ifndef HAMI_SIM_UUID_H
#define HAMI_SIM_UUID_H

#include <stddef.h>

enum { UUID_TEXT_SIZE = 37 };

void uuid_from_name(const char *name, char text[UUID_TEXT_SIZE]);

#endif
