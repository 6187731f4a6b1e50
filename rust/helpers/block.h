/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_BLOCK_H
#define KX_HELPERS_BLOCK_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/mempool.h>

sector_t kx_bdev_nr_sectors(struct block_device *bdev);
struct queue_limits *kx_bdev_limits(struct block_device *bdev);
void kx_bio_set_dev(struct bio *bio, struct block_device *bdev);
void kx_bio_inc_remaining(struct bio *bio);
void *kx_page_address(struct page *page);
void *kx_bvec_virt(struct bio_vec *bvec);
struct page *kx_page_next(struct page *page);
void kx_page_set_next(struct page *page, struct page *next);
void kx_page_get(struct page *page);
bool kx_page_is_shared(struct page *page);
bool kx_bio_is_stable(struct bio *bio);
mempool_t *kx_mempool_create(int reserved, size_t size);
void *kx_mempool_alloc(mempool_t *pool, bool wait);
void kx_queue_limits_start_update(struct gendisk *disk, struct queue_limits *limits);
void kx_disk_announce_change(struct gendisk *disk);
unsigned int kx_memalloc_noio_save(void);
void kx_memalloc_noio_restore(unsigned int flags);

#endif
