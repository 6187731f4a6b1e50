/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_NET_H
#define KX_HELPERS_NET_H

#include <net/genetlink.h>

struct sk_buff *kx_genlmsg_new(size_t payload, gfp_t flags);
void kx_genlmsg_end(struct sk_buff *skb, void *header);
int kx_genlmsg_reply(struct sk_buff *skb, struct genl_info *info);
int kx_genlmsg_multicast(const struct genl_family *family, struct sk_buff *skb, gfp_t flags);
u32 kx_netlink_portid(struct sk_buff *skb);
unsigned int kx_skb_tailroom(struct sk_buff *skb);

#endif
