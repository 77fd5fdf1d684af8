/* SPDX-License-Identifier: Apache-2.0 */
#include "control/access.h"

#include "nvml/session.h"

#include <stdarg.h>
#include <stdio.h>

int explain(char *message, size_t size, int result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (message != NULL && size != 0)
        vsnprintf(message, size, format, arguments);
    va_end(arguments);
    return result;
}

static int enter_session(struct access_scope *scope, char *message, size_t size)
{
    int result;
    scope->store = session_enter(&result);
    if (scope->store == NULL)
        return explain(message, size, result, "no node is open in this process; nvmlInit comes first");
    return NVML_SUCCESS;
}

static int open_own(struct access_scope *scope, const char *state, char *message, size_t size)
{
    char reason[256] = "";
    int result = store_open(&scope->own, state, reason, sizeof reason);
    if (result != NVML_SUCCESS)
        return explain(message, size, result, "%s", reason);
    result = store_lock(&scope->own);
    if (result != NVML_SUCCESS) {
        store_close(&scope->own);
        return explain(message, size, result, "%s: cannot be locked", state);
    }
    scope->store = &scope->own;
    return NVML_SUCCESS;
}

int access_begin(struct access_scope *scope, const char *state, enum access access, char *message, size_t size)
{
    *scope = (struct access_scope){.own = STORE_CLOSED, .writes = access == WRITE};
    int result = state == NULL ? enter_session(scope, message, size) : open_own(scope, state, message, size);
    if (result == NVML_SUCCESS)
        scope->node = scope->writes ? store_begin_change(scope->store) : store_current(scope->store);
    return result;
}

int access_end(struct access_scope *scope, int result)
{
    if (scope->writes && result == NVML_SUCCESS) {
        store_commit(scope->store);
        usage_settle(&scope->store->file->usage, scope->node);
    }
    if (scope->store == &scope->own) {
        store_unlock(scope->store);
        store_close(&scope->own);
    } else {
        session_leave(scope->store);
    }
    return result;
}
