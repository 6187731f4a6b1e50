// SPDX-License-Identifier: GPL-2.0-only
#include <linux/sched/mm.h>
#include "block.h"

#ifdef CONFIG_HIGHMEM
#error "pages are reached through the direct map: 64-bit only"
#endif

sector_t kx_bdev_nr_sectors(struct block_device *bdev)
{
	return bdev_nr_sectors(bdev);
}

struct queue_limits *kx_bdev_limits(struct block_device *bdev)
{
	return bdev_limits(bdev);
}

void kx_bio_set_dev(struct bio *bio, struct block_device *bdev)
{
	bio_set_dev(bio, bdev);
}

void kx_bio_inc_remaining(struct bio *bio)
{
	bio_inc_remaining(bio);
}

void *kx_page_address(struct page *page)
{
	return page_address(page);
}

void *kx_bvec_virt(struct bio_vec *bvec)
{
	return bvec_virt(bvec);
}

void kx_queue_limits_start_update(struct gendisk *disk, struct queue_limits *limits)
{
	*limits = queue_limits_start_update(disk->queue);
}

unsigned int kx_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void kx_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

void kx_disk_announce_change(struct gendisk *disk)
{
	kobject_uevent(&disk_to_dev(disk)->kobj, KOBJ_CHANGE);
}
