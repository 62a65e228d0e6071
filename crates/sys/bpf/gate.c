/* The gate: drops what would let a vip answer or speak after its deadline.
 *
 * Hangs on clsact, ingress and egress. A guarded address has a slot; the slot holds the moment on CLOCK_BOOTTIME
 * until which the address may be used. All other traffic goes on to the next filter (TC_ACT_UNSPEC).
 *
 * Linux answers for its addresses on every interface, not only on the one where they stand. So there are programs for the
 * others too: there a slot of 0 says that the address is not here, and what is on its way to whoever has it passes.
 *
 * Self-contained: no kernel headers, no libbpf. The two maps are made by the loader, which writes their descriptors
 * into the instructions that name them.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define PROGRAM(name) __attribute__((section("tc/" #name), used)) int name
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)
#else
#define BE16(x) (x)
#define BE32(x) (x)
#endif

/* The first fields of the kernel's struct __sk_buff (linux/bpf.h); their places are part of its promise. */
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol;
	u32 vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const load_bytes)(const struct __sk_buff *skb, u32 at, void *to, u32 len) = (void *)26;
static u64 (*const boot_ns)(void) = (void *)125;

/* An address, IPv4 as ::ffff:a.b.c.d. */
struct addr {
	u32 word[4];
};

extern char slots;     /* hash: struct addr -> u32 slot */
extern char deadlines; /* array: slot -> u64 deadline; slot 0 counts what was dropped */

enum { PASS = -1, DROP = 2 };
/* Which way a packet goes, and whether this is an interface where no guarded address stands. */
enum { INGRESS = 0, EGRESS = 1, ELSEWHERE = 2 };
enum { ETH_IPV4 = BE16(0x0800), ETH_ARP = BE16(0x0806), ETH_IPV6 = BE16(0x86dd) };
enum { ETH_VLAN = BE16(0x8100), ETH_QINQ = BE16(0x88a8) };
enum { HOP_BY_HOP = 0, ROUTING = 43, ICMPV6 = 58, DESTINATION = 60 };
enum { SOLICITATION = 135, ADVERTISEMENT = 136 };

/* RFC 8200 4.1 names three extension headers that may stand before ICMPv6 unfragmented, one of them twice. */
#define EXTENSIONS 4

INLINE int closed(const struct addr *addr, int way)
{
	u32 *slot = map_lookup(&slots, addr);
	if (!slot)
		return 0;
	u32 index = *slot;
	u64 *deadline = map_lookup(&deadlines, &index);
	if (deadline) {
		u64 until = *(volatile u64 *)deadline;
		if (boot_ns() <= until || (!until && (way & ELSEWHERE)))
			return 0;
	}
	index = 0;
	u64 *dropped = map_lookup(&deadlines, &index);
	if (dropped)
		__sync_fetch_and_add(dropped, 1);
	return 1;
}

INLINE int closed4(u32 word, int way)
{
	struct addr addr = { { 0, 0, BE32(0xffff), word } };
	return closed(&addr, way);
}

struct arp {
	u16 hardware, protocol;
	u8 hardware_len, protocol_len;
	u16 operation;
	u8 sender_mac[6], sender[4], target_mac[6], target[4];
};

/* RFC 826: asking for the vip is dropped on the way in, claiming it on the way out. An announcement (sender and target
 * are one) comes in, or this host's own table of neighbours would go stale when the vip moves. */
INLINE int judge_arp(struct __sk_buff *skb, u32 at, int way)
{
	struct arp arp;
	u32 sender, target;
	if (load_bytes(skb, at, &arp, sizeof(arp)))
		return PASS;
	if (arp.protocol != ETH_IPV4 || arp.hardware_len != 6 || arp.protocol_len != 4)
		return PASS;
	__builtin_memcpy(&sender, arp.sender, 4);
	__builtin_memcpy(&target, arp.target, 4);
	if (!(way & EGRESS) && sender == target)
		return PASS;
	return closed4(way & EGRESS ? sender : target, way) ? DROP : PASS;
}

/* RFC 4861 4.3 and 4.4: soliciting the vip is dropped on the way in, advertising it on the way out. */
INLINE int judge_neighbour(struct __sk_buff *skb, u32 at, int way)
{
	struct addr target;
	u8 type;
	if (load_bytes(skb, at, &type, 1) || type != (way & EGRESS ? ADVERTISEMENT : SOLICITATION))
		return PASS;
	if (load_bytes(skb, at + 8, &target, sizeof(target)))
		return PASS;
	return closed(&target, way) ? DROP : PASS;
}

INLINE int judge_ipv6(struct __sk_buff *skb, u32 at, int way)
{
	struct addr addr;
	u8 next;
	if (load_bytes(skb, at + (way & EGRESS ? 8 : 24), &addr, sizeof(addr)))
		return PASS;
	if (closed(&addr, way))
		return DROP;
	if (load_bytes(skb, at + 6, &next, 1))
		return PASS;
	at += 40;
#pragma clang loop unroll(full)
	for (int i = 0; i < EXTENSIONS; i++) {
		u8 head[2];
		if (next == ICMPV6)
			return judge_neighbour(skb, at, way);
		if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION)
			return PASS;
		if (load_bytes(skb, at, head, 2))
			return PASS;
		next = head[0];
		at += (head[1] + 1u) * 8;
	}
	return next == ICMPV6 ? judge_neighbour(skb, at, way) : PASS;
}

INLINE int judge(struct __sk_buff *skb, u32 at, u16 protocol, int way)
{
	u32 word;
	if (protocol == ETH_IPV4) {
		if (load_bytes(skb, at + (way & EGRESS ? 12 : 16), &word, 4))
			return PASS;
		return closed4(word, way) ? DROP : PASS;
	}
	if (protocol == ETH_IPV6)
		return judge_ipv6(skb, at, way);
	if (protocol == ETH_ARP)
		return judge_arp(skb, at, way);
	return PASS;
}

/* Ethernet, with up to two VLAN tags that the hardware has left in the frame. */
INLINE int judge_ethernet(struct __sk_buff *skb, int way)
{
	u16 protocol;
	u32 at = 14;
	if (load_bytes(skb, 12, &protocol, 2))
		return PASS;
#pragma clang loop unroll(full)
	for (int i = 0; i < 2; i++) {
		if (protocol != ETH_VLAN && protocol != ETH_QINQ)
			break;
		if (load_bytes(skb, at + 2, &protocol, 2))
			return PASS;
		at += 4;
	}
	return judge(skb, at, protocol, way);
}

PROGRAM(ethernet_ingress)(struct __sk_buff *skb)
{
	return judge_ethernet(skb, INGRESS);
}

PROGRAM(ethernet_egress)(struct __sk_buff *skb)
{
	return judge_ethernet(skb, EGRESS);
}

/* Interfaces whose packets begin with the IP header, such as tunnels. */
PROGRAM(ip_ingress)(struct __sk_buff *skb)
{
	return judge(skb, 0, skb->protocol, INGRESS);
}

PROGRAM(ip_egress)(struct __sk_buff *skb)
{
	return judge(skb, 0, skb->protocol, EGRESS);
}

/* What this host passes on for another one is none of the gate's business: only what it says itself. */
PROGRAM(ethernet_in_elsewhere)(struct __sk_buff *skb)
{
	return judge_ethernet(skb, INGRESS | ELSEWHERE);
}

PROGRAM(ethernet_out_elsewhere)(struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? PASS : judge_ethernet(skb, EGRESS | ELSEWHERE);
}

PROGRAM(ip_in_elsewhere)(struct __sk_buff *skb)
{
	return judge(skb, 0, skb->protocol, INGRESS | ELSEWHERE);
}

PROGRAM(ip_out_elsewhere)(struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? PASS : judge(skb, 0, skb->protocol, EGRESS | ELSEWHERE);
}
