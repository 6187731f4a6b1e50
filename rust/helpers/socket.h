/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KX_HELPERS_SOCKET_H
#define KX_HELPERS_SOCKET_H

#include <linux/net.h>

void kx_socket_defaults(struct socket *sock);
void kx_socket_timeouts(struct socket *sock, long send, long receive);
void kx_socket_buffers(struct socket *sock, int send, int receive);
void kx_socket_priority(struct socket *sock, unsigned int priority);
void kx_socket_cork(struct socket *sock, bool on);
int kx_socket_queued(struct socket *sock);
int kx_socket_send_buffer(struct socket *sock);
bool kx_socket_established(struct socket *sock);
bool kx_message_left(struct msghdr *message);

#endif
