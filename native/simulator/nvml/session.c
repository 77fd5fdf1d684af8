/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml/session.h"

#include "node/environment.h"
#include "node/fault.h"
#include "nvml/handles.h"
#include "nvml_abi.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_SIZE = 2048 };

static pthread_mutex_t session_lock = PTHREAD_MUTEX_INITIALIZER;
static struct store session_store = {.file = NULL, .descriptor = -1};
static unsigned session_references;
static bool fork_is_watched;

/* A fork during another thread's call must not leave the child with a lock that is never released. */
static void before_fork(void)
{
    pthread_mutex_lock(&session_lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&session_lock);
}

static void after_fork_in_child(void)
{
    pthread_mutex_init(&session_lock, NULL);
}

static void watch_fork(void)
{
    if (!fork_is_watched)
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    fork_is_watched = true;
}

static int open_session(void)
{
    char message[MESSAGE_SIZE] = "";
    int result = environment_open(&session_store, message, sizeof message);
    if (result == NVML_SUCCESS && !fault_read_environment(message, sizeof message)) {
        store_close(&session_store);
        result = NVML_ERROR_DRIVER_NOT_LOADED;
    }
    if (result != NVML_SUCCESS) {
        /* A failure with a variable set means that the user's simulation setting is wrong. */
        if (getenv("HAMI_SIM_STATE") != NULL || getenv("HAMI_SIM_NODE") != NULL)
            fprintf(stderr, "hami-sim: %s\n", message);
        return result;
    }
    result = environment_check_driver(&session_store);
    if (result != NVML_SUCCESS)
        store_close(&session_store);
    else
        handles_new_epoch();
    return result;
}

int session_init(void)
{
    pthread_mutex_lock(&session_lock);
    watch_fork();
    int result = session_references == 0 ? open_session() : NVML_SUCCESS;
    if (result == NVML_SUCCESS)
        session_references++;
    pthread_mutex_unlock(&session_lock);
    return result;
}

int session_shutdown(void)
{
    int result = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&session_lock);
    if (session_references != 0) {
        result = NVML_SUCCESS;
        if (--session_references == 0)
            store_close(&session_store);
    }
    pthread_mutex_unlock(&session_lock);
    return result;
}

struct store *session_enter(int *result)
{
    pthread_mutex_lock(&session_lock);
    *result = session_references != 0 ? store_lock(&session_store) : NVML_ERROR_UNINITIALIZED;
    if (*result == NVML_SUCCESS)
        return &session_store;
    pthread_mutex_unlock(&session_lock);
    return NULL;
}

void session_leave(struct store *store)
{
    store_unlock(store);
    pthread_mutex_unlock(&session_lock);
}
