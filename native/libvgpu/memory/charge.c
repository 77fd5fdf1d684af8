/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/charge.h"

#include "cuda_abi.h"
#include "driver.h"
#include "memory/accounting.h"
#include "memory/device.h"
#include "memory/pools.h"

static const struct charge NO_CHARGE = {.device = DEVICE_NONE};

/* Before a limit refuses, this process's pools release the memory that they keep, as a driver's pools do. */
static bool reserve_beside_pools(int device, uint64_t bytes)
{
    bool taken = accounting_reserve(device, bytes) || (pools_give_up(device) && accounting_reserve(device, bytes));
    if (taken)
        pools_make_room(device);
    return taken;
}

static bool reserve(int device, uint64_t bytes)
{
    return pools_keep_any() ? reserve_beside_pools(device, bytes) : accounting_reserve(device, bytes);
}

static bool take(struct charge *charge)
{
    return charge->device < 0 || reserve(charge->device, charge->bytes);
}

bool charge_current(struct charge *charge, uint64_t bytes)
{
    *charge = NO_CHARGE;
    if (!device_controlled())
        return true;
    charge->device = device_current(&charge->ordinal, &charge->context);
    charge->bytes = bytes;
    return take(charge);
}

bool charge_device(struct charge *charge, int ordinal, uint64_t bytes)
{
    return charge_index(charge, device_controlled() ? device_index(ordinal) : DEVICE_NONE, bytes);
}

bool charge_index(struct charge *charge, int index, uint64_t bytes)
{
    *charge = (struct charge){.device = index, .bytes = bytes};
    return take(charge);
}

bool charge_pool(struct charge *charge, int index, const void *pool, uint64_t bytes)
{
    uint64_t kept = index >= 0 && pools_keep_any() ? pools_take(pool, index, bytes) : 0;
    bool fits = charge_index(charge, index, bytes - kept);
    if (!fits && kept != 0) {
        accounting_release(index, kept);
        pools_settle(index);
    }
    charge->bytes = bytes;
    return fits;
}

void charge_settle(int index)
{
    if (index >= 0 && pools_keep_any())
        pools_settle(index);
}

bool charge_adjust(struct charge *charge, uint64_t bytes)
{
    if (charge->device < 0) {
        charge->bytes = bytes;
        return true;
    }
    if (bytes > charge->bytes && !reserve(charge->device, bytes - charge->bytes))
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

/* The driver allocated memory without first naming the device: count it now, or free it again. */
static bool keep_late(uint64_t bytes, enum allocation_space space, uint64_t key)
{
    struct charge charge;
    return charge_current(&charge, bytes) && device_error(charge.device) == 0 &&
           charge_keep(&charge, space, key, CU_SUCCESS);
}

bool charge_keep(const struct charge *charge, enum allocation_space space, uint64_t key, int result)
{
    struct allocation replaced = {.bytes = 0};
    struct allocation entry = {
        .bytes = charge->bytes, .context = charge->context, .device = charge->device, .references = 1};
    if (VGPU_UNLIKELY(device_error(charge->device) != 0 && result == CU_SUCCESS))
        return keep_late(charge->bytes, space, key);
    if (charge->device < 0)
        return true;
    if (result != CU_SUCCESS || !allocations_put(space, key, entry, &replaced)) {
        charge_drop(charge);
        return result != CU_SUCCESS;
    }
    /* The driver reused this number, so its old allocation ended without a call that we saw. */
    if (replaced.bytes != 0)
        give_back(&replaced);
    return true;
}

int charge_keep_pointer(const struct charge *charge, const unsigned long long *pointer, int result)
{
    int (*undo)(unsigned long long) = (int (*)(unsigned long long))(uintptr_t)driver_real(HOOK_cuMemFree_v2);
    if (charge_keep(charge, SPACE_POINTER, result == CU_SUCCESS ? *pointer : 0, result))
        return result;
    undo(*pointer);
    return CU_ERROR_OUT_OF_MEMORY;
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
    if (space == SPACE_POINTER)
        charge_settle(entry->device);
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
