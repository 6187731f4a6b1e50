// SPDX-License-Identifier: GPL-2.0-only
#include "crypto.h"

void kx_shash_free(struct crypto_shash *tfm)
{
	crypto_free_shash(tfm);
}

unsigned int kx_shash_digest_bytes(struct crypto_shash *tfm)
{
	return crypto_shash_digestsize(tfm);
}

size_t kx_shash_state_bytes(struct crypto_shash *tfm)
{
	return sizeof(struct shash_desc) + crypto_shash_descsize(tfm);
}

int kx_shash_begin(void *state, struct crypto_shash *tfm)
{
	struct shash_desc *desc = state;

	desc->tfm = tfm;
	return crypto_shash_init(desc);
}

int kx_shash_update(void *state, const u8 *data, unsigned int length)
{
	return crypto_shash_update(state, data, length);
}

int kx_shash_finish(void *state, u8 *digest)
{
	return crypto_shash_final(state, digest);
}

void kx_shash_forget(void *state)
{
	shash_desc_zero(state);
}
