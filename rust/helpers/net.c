// SPDX-License-Identifier: GPL-2.0-only
#include "net.h"

struct sk_buff *kx_genlmsg_new(size_t payload, gfp_t flags)
{
	return genlmsg_new(payload, flags);
}

void kx_genlmsg_end(struct sk_buff *skb, void *header)
{
	genlmsg_end(skb, header);
}

int kx_genlmsg_reply(struct sk_buff *skb, struct genl_info *info)
{
	return genlmsg_reply(skb, info);
}

int kx_genlmsg_multicast(const struct genl_family *family, struct sk_buff *skb, gfp_t flags)
{
	return genlmsg_multicast_netns(family, &init_net, skb, 0, 0, flags);
}

u32 kx_netlink_portid(struct sk_buff *skb)
{
	return NETLINK_CB(skb).portid;
}

unsigned int kx_skb_tailroom(struct sk_buff *skb)
{
	return skb_tailroom(skb);
}
