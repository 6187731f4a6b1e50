// SPDX-License-Identifier: GPL-2.0-only
#include "sync.h"

unsigned long kx_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void kx_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

int kx_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	unsigned long saved;
	int held = spin_trylock_irqsave(lock, saved);

	if (held)
		*flags = saved;
	return held;
}
