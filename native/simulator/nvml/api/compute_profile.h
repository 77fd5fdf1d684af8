/* SPDX-License-Identifier: Apache-2.0 */
/* What the compute instance calls share. */
#ifndef HAMI_SIM_API_COMPUTE_H
#define HAMI_SIM_API_COMPUTE_H

#include "nvml/api/profile.h"

/* A compute instance profile's id is its enumeration value (reference 1.1). */
int compute_profile_by_id(const struct call *call, unsigned id, const struct compute_profile **compute);

#endif
