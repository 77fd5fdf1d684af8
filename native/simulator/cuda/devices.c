/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/devices.h"

struct driver driver = {.store = {.file = NULL, .descriptor = -1}};

struct device *device_at(int index)
{
    return index >= 0 && (unsigned)index < driver.device_count ? &driver.devices[index] : NULL;
}
