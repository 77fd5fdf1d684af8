/* SPDX-License-Identifier: Apache-2.0 */
#include "charge.h"

#include "../include/cuda_abi.h"
#include "accounting.h"
#include "device.h"

static const struct charge NOBODY = {.device = -1};

uint64_t charge_rounded(uint64_t bytes, uint64_t unit)
{
    uint64_t rounded = (bytes + unit - 1) / unit * unit;
    return rounded >= bytes ? rounded : bytes;
}

static bool take(struct charge *charge)
{
    return charge->device < 0 || accounting_reserve(charge->device, charge->bytes);
}

bool charge_current(struct charge *charge, uint64_t bytes)
{
    *charge = NOBODY;
    if (!device_controlled())
        return true;
    charge->device = device_current(&charge->ordinal, &charge->context);
    charge->bytes = bytes;
    return take(charge);
}

bool charge_device(struct charge *charge, int ordinal, uint64_t bytes)
{
    *charge = NOBODY;
    if (!device_controlled())
        return true;
    *charge = (struct charge){.device = device_index(ordinal), .ordinal = ordinal, .bytes = bytes};
    return take(charge);
}

bool charge_adjust(struct charge *charge, uint64_t bytes)
{
    if (charge->device < 0)
        return true;
    if (bytes > charge->bytes && !accounting_reserve(charge->device, bytes - charge->bytes))
        return false;
    if (bytes < charge->bytes)
        accounting_release(charge->device, charge->bytes - bytes);
    charge->bytes = bytes;
    return true;
}

void charge_drop(const struct charge *charge)
{
    if (charge->device >= 0)
        accounting_release(charge->device, charge->bytes);
}

static void give_back(const struct allocation *entry)
{
    accounting_release(entry->device, entry->bytes);
}

bool charge_keep(const struct charge *charge, enum allocation_space space, uint64_t key, int result)
{
    struct allocation replaced = {.bytes = 0};
    struct allocation entry = {
        .bytes = charge->bytes, .context = charge->context, .device = charge->device, .references = 1};
    if (charge->device < 0)
        return true;
    if (result != CU_SUCCESS || !allocations_put(space, key, entry, &replaced)) {
        charge_drop(charge);
        return result != CU_SUCCESS;
    }
    /* What the driver gave out anew had ended in a way that we did not see. */
    if (replaced.bytes != 0)
        give_back(&replaced);
    return true;
}

bool charge_begin_free(struct allocation *entry, enum allocation_space space, uint64_t key)
{
    return device_controlled() && allocations_take(space, key, entry);
}

void charge_end_free(bool known, const struct allocation *entry, enum allocation_space space, uint64_t key, int result)
{
    struct allocation replaced;
    if (!known)
        return;
    if (result == CU_SUCCESS || !allocations_put(space, key, *entry, &replaced))
        give_back(entry);
}

void charge_refer(enum allocation_space space, uint64_t key, int change)
{
    struct allocation entry;
    if (device_controlled() && allocations_refer(space, key, change, &entry) && entry.references == 0)
        give_back(&entry);
}

void charge_end_context(uint64_t context)
{
    if (device_controlled())
        allocations_end_context(context, give_back);
}
