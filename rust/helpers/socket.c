// SPDX-License-Identifier: GPL-2.0-only
/* What lies inside of struct sock, which the kernel's Rust bindings do not know. */
#include <linux/tcp.h>
#include <net/sock.h>
#include "socket.h"

/* Memory for sending must not wait for I/O: the I/O may be what is being sent. */
void kx_socket_defaults(struct socket *sock)
{
	struct sock *sk = sock->sk;

	sk->sk_reuse = SK_CAN_REUSE;
	sk->sk_allocation = GFP_NOIO;
	sk->sk_use_task_frag = false;
	tcp_sock_set_nodelay(sk);
}

void kx_socket_timeouts(struct socket *sock, long send, long receive)
{
	WRITE_ONCE(sock->sk->sk_sndtimeo, send);
	WRITE_ONCE(sock->sk->sk_rcvtimeo, receive);
}

/* 0 leaves the size to the kernel. */
void kx_socket_buffers(struct socket *sock, int send, int receive)
{
	struct sock *sk = sock->sk;

	lock_sock(sk);
	if (send) {
		WRITE_ONCE(sk->sk_sndbuf, send);
		sk->sk_userlocks |= SOCK_SNDBUF_LOCK;
	}
	if (receive) {
		WRITE_ONCE(sk->sk_rcvbuf, receive);
		sk->sk_userlocks |= SOCK_RCVBUF_LOCK;
	}
	release_sock(sk);
}

void kx_socket_priority(struct socket *sock, unsigned int priority)
{
	WRITE_ONCE(sock->sk->sk_priority, priority);
}

void kx_socket_cork(struct socket *sock, bool on)
{
	tcp_sock_set_cork(sock->sk, on);
}

int kx_socket_queued(struct socket *sock)
{
	return READ_ONCE(sock->sk->sk_wmem_queued);
}

int kx_socket_send_buffer(struct socket *sock)
{
	return READ_ONCE(sock->sk->sk_sndbuf);
}

bool kx_socket_established(struct socket *sock)
{
	return READ_ONCE(sock->sk->sk_state) == TCP_ESTABLISHED;
}

bool kx_message_left(struct msghdr *message)
{
	return msg_data_left(message) != 0;
}
