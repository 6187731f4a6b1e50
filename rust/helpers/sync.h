/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_SYNC_H
#define KX_HELPERS_SYNC_H
#include <linux/spinlock.h>

unsigned long kx_spin_lock_irqsave(spinlock_t *lock);
void kx_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
int kx_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);

#endif
