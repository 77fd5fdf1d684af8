/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/view.h"

#include "memory/accounting.h"
#include "memory/device.h"

bool view_of(int device, uint64_t real_total, uint64_t real_free, struct view *view)
{
    uint64_t limit = device >= 0 && device_controlled() ? accounting_limit(device) : 0;
    if (limit == 0)
        return false;
    uint64_t used = accounting_used(device);
    view->total = limit < real_total ? limit : real_total;
    view->used = used < view->total ? used : view->total;
    view->free = view->total - view->used;
    if (view->free > real_free)
        view->free = real_free;
    return true;
}
