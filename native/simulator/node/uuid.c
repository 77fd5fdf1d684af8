/* SPDX-License-Identifier: Apache-2.0 */
#include "node/uuid.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t rotated(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

static void round_terms(unsigned round, const uint32_t h[5], uint32_t *mix, uint32_t *constant)
{
    if (round < 20) {
        *mix = (h[1] & h[2]) | (~h[1] & h[3]);
        *constant = 0x5A827999;
    } else if (round < 40 || round >= 60) {
        *mix = h[1] ^ h[2] ^ h[3];
        *constant = round < 40 ? 0x6ED9EBA1 : 0xCA62C1D6;
    } else {
        *mix = (h[1] & h[2]) | (h[1] & h[3]) | (h[2] & h[3]);
        *constant = 0x8F1BBCDC;
    }
}

/* FIPS 180-4, one 64-byte block. */
static void sha1_block(uint32_t state[5], const uint8_t block[64])
{
    uint32_t words[80], h[5];
    for (size_t index = 0; index < 16; index++)
        words[index] = (uint32_t)block[index * 4] << 24 | (uint32_t)block[index * 4 + 1] << 16 |
                       (uint32_t)block[index * 4 + 2] << 8 | block[index * 4 + 3];
    for (unsigned index = 16; index < 80; index++)
        words[index] = rotated(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1);
    memcpy(h, state, sizeof h);
    for (unsigned round = 0; round < 80; round++) {
        uint32_t mix, constant;
        round_terms(round, h, &mix, &constant);
        uint32_t next = rotated(h[0], 5) + mix + h[4] + constant + words[round];
        h[4] = h[3];
        h[3] = h[2];
        h[2] = rotated(h[1], 30);
        h[1] = h[0];
        h[0] = next;
    }
    for (unsigned index = 0; index < 5; index++)
        state[index] += h[index];
}

static void sha1(const uint8_t *data, size_t length, uint32_t state[5])
{
    static const uint32_t start[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t tail[128] = {0};
    size_t whole = length / 64 * 64, rest = length - whole;
    size_t padded = rest < 56 ? 64 : 128;
    memcpy(state, start, sizeof start);
    for (size_t offset = 0; offset < whole; offset += 64)
        sha1_block(state, data + offset);
    memcpy(tail, data + whole, rest);
    tail[rest] = 0x80;
    for (unsigned index = 0; index < 8; index++)
        tail[padded - 1 - index] = (uint8_t)((uint64_t)length * 8 >> (8 * index));
    for (size_t offset = 0; offset < padded; offset += 64)
        sha1_block(state, tail + offset);
}

void uuid_from_name(const char *name, char text[UUID_TEXT_SIZE])
{
    /* RFC 4122's namespace for URLs: any fixed one would do. */
    static const uint8_t namespace[16] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                          0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    uint8_t data[256];
    uint32_t h[5];
    size_t length = strnlen(name, sizeof data - sizeof namespace);
    memcpy(data, namespace, sizeof namespace);
    memcpy(data + sizeof namespace, name, length);
    sha1(data, sizeof namespace + length, h);
    h[1] = (h[1] & 0xFFFF0FFF) | 0x5000;
    h[2] = (h[2] & 0x3FFFFFFF) | 0x80000000;
    snprintf(text, UUID_TEXT_SIZE, "%08x-%04x-%04x-%04x-%04x%08x", h[0], h[1] >> 16, h[1] & 0xFFFF, h[2] >> 16,
             h[2] & 0xFFFF, h[3]);
}
