/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA: linking code. Nothing is compiled: the result holds what went in, in a form that modules are loaded from. */
#include "cuda/frame.h"
#include "cuda/image.h"
#include "cuda/object.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_CUBIN, INPUT_PTX, INPUT_FATBINARY, INPUT_OBJECT, INPUT_LIBRARY, INPUT_NVVM, INPUT_KINDS };
enum { HEADER = 16 };

struct link {
    struct object object;
    char *data; /* room for a fat binary's header, then the inputs one after another */
    size_t size;
    unsigned inputs;
    enum image_kind kind; /* of all inputs, or IMAGE_FAT */
};

CUDA_API int cuLinkCreate_v2(unsigned count, int *options, void **values, struct link **handle)
{
    ENTER_CONTEXT();
    if (handle == NULL || (count != 0 && (options == NULL || values == NULL)))
        return CU_ERROR_INVALID_VALUE;
    struct link *link = object_new(OBJECT_LINK);
    if (link == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    link->data = calloc(1, HEADER + 1);
    if (link->data == NULL) {
        object_free(link);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    link->size = HEADER;
    *handle = link;
    return CU_SUCCESS;
}

CUDA_API int cuLinkCreate(unsigned count, int *options, void **values, struct link **handle)
{
    return cuLinkCreate_v2(count, options, values, handle);
}

static int append(struct link *link, enum image_kind kind, const void *data, size_t size)
{
    char *grown = realloc(link->data, link->size + size + 1);
    if (grown == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    memcpy(grown + link->size, data, size);
    grown[link->size + size] = '\0';
    link->data = grown;
    link->size += size;
    link->kind = link->inputs == 0 || (link->kind == kind && kind == IMAGE_PTX) ? kind : IMAGE_FAT;
    link->inputs++;
    return CU_SUCCESS;
}

/* Objects and libraries are archives of code: they are taken as they are. */
static int add(struct link *link, int type, const void *data, size_t size)
{
    struct image image;
    if (type == INPUT_OBJECT || type == INPUT_LIBRARY)
        return append(link, IMAGE_FAT, data, size);
    int result = size < HEADER ? CU_ERROR_INVALID_IMAGE : image_copy(data, &image);
    if (result != CU_SUCCESS)
        return result;
    size_t length = image.kind == IMAGE_PTX ? strlen(image.data) : image.size;
    result = append(link, image.kind, image.data, length);
    image_free(&image);
    return result;
}

CUDA_API int cuLinkAddData_v2(void *handle, int type, void *data, size_t size, const char *name, unsigned count,
                              int *options, void **values)
{
    ENTER_CONTEXT();
    (void)name;
    struct link *link = object_check(handle, OBJECT_LINK);
    if (link == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (data == NULL || size == 0 || type < 0 || type >= INPUT_KINDS ||
        (count != 0 && (options == NULL || values == NULL)))
        return CU_ERROR_INVALID_VALUE;
    return add(link, type, data, size);
}

CUDA_API int cuLinkAddData(void *handle, int type, void *data, size_t size, const char *name, unsigned count,
                           int *options, void **values)
{
    return cuLinkAddData_v2(handle, type, data, size, name, count, options, values);
}

CUDA_API int cuLinkAddFile_v2(void *handle, int type, const char *path, unsigned count, int *options, void **values)
{
    ENTER_CONTEXT();
    struct link *link = object_check(handle, OBJECT_LINK);
    struct image image;
    if (link == NULL)
        return CU_ERROR_INVALID_HANDLE;
    if (type < 0 || type >= INPUT_KINDS || (count != 0 && (options == NULL || values == NULL)))
        return CU_ERROR_INVALID_VALUE;
    int result = image_read(path, &image);
    if (result != CU_SUCCESS)
        return result;
    result = append(link, image.kind, image.data, image.kind == IMAGE_PTX ? strlen(image.data) : image.size);
    image_free(&image);
    return result;
}

CUDA_API int cuLinkAddFile(void *handle, int type, const char *path, unsigned count, int *options, void **values)
{
    return cuLinkAddFile_v2(handle, type, path, count, options, values);
}

/* One input is its own result, texts of PTX are one text, anything else becomes a fat binary. */
CUDA_API int cuLinkComplete(void *handle, void **code, size_t *size)
{
    ENTER_CONTEXT();
    struct link *link = object_check(handle, OBJECT_LINK);
    if (link == NULL || link->inputs == 0)
        return link == NULL ? CU_ERROR_INVALID_HANDLE : CU_ERROR_INVALID_IMAGE;
    if (code == NULL)
        return CU_ERROR_INVALID_VALUE;
    size_t skip = link->kind == IMAGE_FAT && link->inputs > 1 ? 0 : HEADER;
    if (skip == 0)
        image_write_fat_header(link->data, link->size - HEADER);
    *code = link->data + skip;
    if (size != NULL)
        *size = link->size - skip + (link->kind == IMAGE_PTX);
    return CU_SUCCESS;
}

CUDA_API int cuLinkDestroy(void *handle)
{
    ENTER();
    struct link *link = object_check(handle, OBJECT_LINK);
    if (link == NULL)
        return CU_ERROR_INVALID_HANDLE;
    free(link->data);
    object_free(link);
    return CU_SUCCESS;
}
