/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_CRYPTO_H
#define KX_HELPERS_CRYPTO_H

#include <crypto/hash.h>

void kx_shash_free(struct crypto_shash *tfm);
unsigned int kx_shash_digest_bytes(struct crypto_shash *tfm);
size_t kx_shash_state_bytes(struct crypto_shash *tfm);
int kx_shash_begin(void *state, struct crypto_shash *tfm);
int kx_shash_update(void *state, const u8 *data, unsigned int length);
int kx_shash_finish(void *state, u8 *digest);
void kx_shash_forget(void *state);

#endif
