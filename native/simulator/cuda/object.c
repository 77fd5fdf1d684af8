/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/object.h"

#include "cuda/lock.h"

#include <string.h>
#include <sys/mman.h>

enum { OBJECT_SPACE = 1 << 30 };

_Atomic(char *) object_base, object_end;

struct free_cell {
    struct object object;
    struct free_cell *next;
};
static struct free_cell *free_cells;

static void *fresh_cell(void)
{
    if (object_base == NULL) {
        void *space =
            mmap(NULL, OBJECT_SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED)
            return NULL;
        object_base = space;
        object_end = space;
    }
    if (object_end == object_base + OBJECT_SPACE)
        return NULL;
    void *cell = object_end;
    object_end = (char *)cell + OBJECT_CELL;
    return cell;
}

void *object_new(enum object_kind kind)
{
    driver_lock();
    void *cell = free_cells;
    if (cell != NULL)
        free_cells = free_cells->next;
    else
        cell = fresh_cell();
    if (cell != NULL) {
        memset(cell, 0, OBJECT_CELL);
        ((struct object *)cell)->kind = kind;
    }
    driver_unlock();
    return cell;
}

void object_free(void *object)
{
    if (object == NULL)
        return;
    driver_lock();
    struct free_cell *cell = object;
    cell->object.kind = OBJECT_FREE;
    cell->next = free_cells;
    free_cells = cell;
    driver_unlock();
}

void *object_next(enum object_kind kind, void *after)
{
    char *cell = after == NULL ? object_base : (char *)after + OBJECT_CELL;
    for (; cell != NULL && cell < object_end; cell += OBJECT_CELL)
        if (((struct object *)(void *)cell)->kind == kind)
            return cell;
    return NULL;
}
