// SPDX-License-Identifier: GPL-2.0-only
#include <linux/pagemap.h>
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

/* Pages of our own are linked by their private word. */
struct page *kx_page_next(struct page *page)
{
	return (struct page *)page_private(page);
}

void kx_page_set_next(struct page *page, struct page *next)
{
	set_page_private(page, (unsigned long)next);
}

void kx_page_get(struct page *page)
{
	get_page(page);
}

bool kx_page_is_shared(struct page *page)
{
	return page_ref_count(page) != 1;
}

/*
 * Whether nobody changes the data of a bio before it ends: pages of a regular file, under writeback, of a file
 * system that makes writers wait for its end. Everything else may change: buffers of direct I/O, metadata of a
 * file system, data of a bio that was cloned and says no more where it is from.
 */
bool kx_bio_is_stable(struct bio *bio)
{
	struct bvec_iter at;
	struct bio_vec part;
	bool stable = true;

	if (bio_flagged(bio, BIO_PAGE_PINNED) || bio_flagged(bio, BIO_CLONED))
		return false;
	rcu_read_lock();
	bio_for_each_segment(part, bio, at) {
		struct folio *folio = page_folio(part.bv_page);
		struct address_space *mapping;

		mapping = folio_test_writeback(folio) ? folio_mapping(folio) : NULL;
		stable = mapping && mapping_stable_writes(mapping) && mapping->host &&
			 S_ISREG(mapping->host->i_mode);
		if (!stable)
			break;
	}
	rcu_read_unlock();
	return stable;
}

mempool_t *kx_mempool_create(int reserved, size_t size)
{
	return mempool_create_kmalloc_pool(reserved, size);
}

void *kx_mempool_alloc(mempool_t *pool, bool wait)
{
	return mempool_alloc(pool, wait ? GFP_NOIO : GFP_NOWAIT);
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
