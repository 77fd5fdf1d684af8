/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: modules, libraries, functions, kernels, variables. */
#include "cuda/api/module.h"

#include "cuda/api/memory.h"
#include "cuda/arena.h"
#include "cuda/context.h"
#include "cuda/device.h"
#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/image.h"
#include "cuda/lock.h"
#include "cuda/object.h"

#include <stdlib.h>
#include <string.h>

struct module {
    struct object object;
    struct context *context; /* NULL: a library, which is of no context */
    struct image image;
    struct function *functions;
    struct variable *variables;
};

struct variable {
    struct variable *next;
    struct block *block;
    char name[FUNCTION_NAME];
};

static int load(struct module **handle, struct context *context, const void *data, const char *path)
{
    if (handle == NULL)
        return CU_ERROR_INVALID_VALUE;
    struct module *module = object_new(OBJECT_MODULE);
    if (module == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    module->context = context;
    int result = path != NULL ? image_read(path, &module->image) : image_copy(data, &module->image);
    if (result == CU_SUCCESS)
        *handle = module;
    else
        object_free(module);
    return result;
}

/* The variables of a context, or all of them: a library has its own in every context. */
static void end_variables(struct module *module, const struct context *context)
{
    for (struct variable **place = &module->variables; *place != NULL;) {
        struct variable *variable = *place;
        struct block *block = variable->block;
        uint64_t charged = block->charged;
        struct device *device = block->device;
        if (context != NULL && block->context != context) {
            place = &variable->next;
            continue;
        }
        *place = variable->next;
        arena_give(block);
        device_give(device, charged);
        free(variable);
    }
}

static void unload(struct module *module)
{
    while (module->functions != NULL) {
        struct function *function = module->functions;
        module->functions = function->next;
        object_free(function);
    }
    end_variables(module, NULL);
    image_free(&module->image);
    object_free(module);
}

void modules_end_context(struct context *context)
{
    for (struct module *module = object_next(OBJECT_MODULE, NULL); module != NULL;
         module = object_next(OBJECT_MODULE, module))
        if (module->context == context)
            unload(module);
        else
            end_variables(module, context);
}

CUDA_API int cuModuleLoad(struct module **handle, const char *path)
{
    ENTER_CONTEXT();
    return path == NULL ? CU_ERROR_INVALID_VALUE : load(handle, thread.current, NULL, path);
}

CUDA_API int cuModuleLoadData(struct module **handle, const void *image)
{
    ENTER_CONTEXT();
    return load(handle, thread.current, image, NULL);
}

CUDA_API int cuModuleLoadDataEx(struct module **handle, const void *image, unsigned count, int *options, void **values)
{
    ENTER_CONTEXT();
    if (count != 0 && (options == NULL || values == NULL))
        return CU_ERROR_INVALID_VALUE;
    return load(handle, thread.current, image, NULL);
}

CUDA_API int cuModuleLoadFatBinary(struct module **handle, const void *image)
{
    ENTER_CONTEXT();
    return load(handle, thread.current, image, NULL);
}

CUDA_API int cuModuleUnload(void *handle)
{
    ENTER_CONTEXT();
    struct module *module = object_check(handle, OBJECT_MODULE);
    if (module == NULL)
        return CU_ERROR_INVALID_HANDLE;
    driver_lock();
    unload(module);
    driver_unlock();
    return CU_SUCCESS;
}

CUDA_API int cuModuleGetLoadingMode(int *mode)
{
    ENTER();
    if (mode == NULL)
        return CU_ERROR_INVALID_VALUE;
    *mode = 2; /* lazy, the default since CUDA 12 */
    return CU_SUCCESS;
}

static struct function *find_function(struct module *module, const char *name)
{
    for (struct function *function = module->functions; function != NULL; function = function->next)
        if (strcmp(function->name, name) == 0)
            return function;
    struct function *function = object_new(OBJECT_FUNCTION);
    if (function == NULL)
        return NULL;
    function->module = module;
    memcpy(function->name, name, strlen(name) + 1);
    /* Threads, registers, PTX and binary version, dynamic shared memory. */
    function->attributes[0] = 1024;
    function->attributes[4] = 32;
    function->attributes[5] = function->attributes[6] = 80;
    function->attributes[8] = 49152;
    function->attributes[9] = -1;
    function->next = module->functions;
    module->functions = function;
    return function;
}

static int get_function(void **handle, void *module_handle, const char *name)
{
    struct module *module = object_check(module_handle, OBJECT_MODULE);
    if (module == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (handle == NULL || name == NULL || strlen(name) >= FUNCTION_NAME)
        return CU_ERROR_INVALID_VALUE;
    if (!image_has_function(&module->image, name))
        return CU_ERROR_NOT_FOUND;
    driver_lock();
    *handle = find_function(module, name);
    driver_unlock();
    return *handle != NULL ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

CUDA_API int cuModuleGetFunction(void **function, void *module, const char *name)
{
    ENTER_CONTEXT();
    return get_function(function, module, name);
}

CUDA_API int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    ENTER();
    return get_function(kernel, library, name);
}

static struct variable *find_variable(struct module *module, const char *name)
{
    for (struct variable *variable = module->variables; variable != NULL; variable = variable->next)
        if (variable->block->context == thread.current && strcmp(variable->name, name) == 0)
            return variable;
    return NULL;
}

static int make_variable(struct module *module, const char *name, struct variable **made)
{
    size_t size = image_variable(&module->image, name);
    if (size == 0)
        return CU_ERROR_NOT_FOUND;
    struct variable *variable = calloc(1, sizeof *variable);
    if (variable == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    int result = allocate(size, BLOCK_LINEAR, &variable->block);
    if (result != CU_SUCCESS) {
        free(variable);
        return result;
    }
    variable->block->kind = BLOCK_VARIABLE;
    memset((void *)(uintptr_t)variable->block->address, 0, size);
    memcpy(variable->name, name, strlen(name) + 1);
    variable->next = module->variables;
    module->variables = *made = variable;
    return CU_SUCCESS;
}

static int get_variable(cu_pointer *pointer, size_t *size, void *handle, const char *name)
{
    struct module *module = object_check(handle, OBJECT_MODULE);
    if (module == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (name == NULL || strlen(name) >= FUNCTION_NAME || (pointer == NULL && size == NULL))
        return CU_ERROR_INVALID_VALUE;
    driver_lock();
    struct variable *variable = find_variable(module, name);
    int result = variable != NULL ? CU_SUCCESS : make_variable(module, name, &variable);
    driver_unlock();
    if (result == CU_SUCCESS && pointer != NULL)
        *pointer = variable->block->address;
    if (result == CU_SUCCESS && size != NULL)
        *size = variable->block->size;
    return result;
}

CUDA_API int cuModuleGetGlobal_v2(cu_pointer *pointer, size_t *size, void *module, const char *name)
{
    ENTER_CONTEXT();
    return get_variable(pointer, size, module, name);
}

CUDA_API int cuLibraryGetGlobal(cu_pointer *pointer, size_t *size, void *library, const char *name)
{
    ENTER_CONTEXT();
    return get_variable(pointer, size, library, name);
}

CUDA_API int cuLibraryLoadData(struct module **handle, const void *code, int *jit, void **jit_values,
                               unsigned jit_count, int *options, void **values, unsigned count)
{
    ENTER();
    if ((jit_count != 0 && (jit == NULL || jit_values == NULL)) || (count != 0 && (options == NULL || values == NULL)))
        return CU_ERROR_INVALID_VALUE;
    return load(handle, NULL, code, NULL);
}

CUDA_API int cuLibraryLoadFromFile(struct module **handle, const char *path, int *jit, void **jit_values,
                                   unsigned jit_count, int *options, void **values, unsigned count)
{
    ENTER();
    if (path == NULL || (jit_count != 0 && (jit == NULL || jit_values == NULL)) ||
        (count != 0 && (options == NULL || values == NULL)))
        return CU_ERROR_INVALID_VALUE;
    return load(handle, NULL, NULL, path);
}

CUDA_API int cuLibraryUnload(void *handle)
{
    ENTER();
    struct module *module = object_check(handle, OBJECT_MODULE);
    if (module == NULL)
        return CU_ERROR_INVALID_HANDLE;
    driver_lock();
    unload(module);
    driver_unlock();
    return CU_SUCCESS;
}

CUDA_API int cuLibraryGetModule(void **module, void *library)
{
    ENTER_CONTEXT();
    if (module == NULL || object_check(library, OBJECT_MODULE) == NULL)
        return module == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *module = library;
    return CU_SUCCESS;
}

CUDA_API int cuFuncGetModule(void **module, void *handle)
{
    ENTER();
    const struct function *function = function_check(handle);
    if (module == NULL || function == NULL)
        return module == NULL ? CU_ERROR_INVALID_VALUE : CU_ERROR_INVALID_HANDLE;
    *module = function->module;
    return CU_SUCCESS;
}
