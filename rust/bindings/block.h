/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/hrtimer_types.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/mempool.h>
#include <linux/vmalloc.h>
#include <crypto/hash.h>
#include "../helpers/block.h"

const gfp_t RUST_CONST_HELPER_GFP_NOIO = GFP_NOIO;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_READ = BLK_OPEN_READ;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_WRITE = BLK_OPEN_WRITE;
