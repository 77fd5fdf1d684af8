/* SPDX-License-Identifier: Apache-2.0 */
/* What the MIG calls share: which profile is meant and whether MIG calls are possible now. */
#ifndef HAMI_SIM_API_PROFILE_H
#define HAMI_SIM_API_PROFILE_H

#include "nvml/call.h"

/* What stands before a profile's name in NVML's answers. */
#define PROFILE_NAME_PREFIX "MIG "

/* NOT_SUPPORTED for ids of other boards and holes of this one, INVALID_ARGUMENT for ids of no board. */
int profile_by_id(const struct call *call, unsigned id, const struct profile **profile);

/* NO_PERMISSION or NOT_SUPPORTED where instances cannot be worked with. */
int require_mig(const struct call *call);

#endif
