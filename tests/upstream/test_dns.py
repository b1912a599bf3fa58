from __future__ import annotations

import asyncio
import socket

import pytest

from apipod_proxy.upstream import dns
from apipod_proxy.upstream.dns import Address, Resolver, interleave, literal, system_lookup


def v4(last: int, port: int = 80) -> Address:
    return Address(socket.AF_INET, (f"192.0.2.{last}", port))


def v6(last: int, port: int = 80) -> Address:
    return Address(socket.AF_INET6, (f"2001:db8::{last}", port, 0, 0))


class Names:
    """A lookup that counts, fails when told to and waits when told to."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses = list(addresses)
        self.asked = 0
        self.failing = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 0.0

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        await self.gate.wait()
        if self.failing:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return self.addresses

    def resolver(self, ttl: float = 60) -> Resolver:
        return Resolver(ttl=ttl, lookup=self, clock=lambda: self.now)


async def test_an_answer_is_remembered_for_its_time_and_no_longer() -> None:
    names = Names(v4(1))
    resolver = names.resolver()
    for now, asked in ((0, 1), (59.9, 1), (60, 2), (61, 2)):
        names.now = now
        assert await resolver.resolve("a.test", 80) == [v4(1)]
        assert names.asked == asked


async def test_hosts_and_ports_are_apart() -> None:
    names = Names(v4(1))
    resolver = names.resolver()
    for host, port in (("a.test", 80), ("b.test", 80), ("a.test", 81), ("a.test", 80)):
        await resolver.resolve(host, port)
    assert names.asked == 3


async def test_many_who_ask_at_once_ask_once() -> None:
    names = Names(v4(1))
    names.gate.clear()
    resolver = names.resolver()
    asking = [asyncio.ensure_future(resolver.resolve("a.test", 80)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    names.gate.set()
    assert await asyncio.gather(*asking[1:]) == [[v4(1)]] * 4
    assert names.asked == 1


async def test_a_failure_is_raised_and_not_remembered() -> None:
    names = Names(v4(1))
    names.failing = True
    resolver = names.resolver()
    with pytest.raises(OSError, match="try again"):
        await resolver.resolve("a.test", 80)
    names.failing = False
    assert await resolver.resolve("a.test", 80) == [v4(1)]


async def test_no_address_is_a_failure() -> None:
    with pytest.raises(OSError, match="no address"):
        await Names().resolver().resolve("a.test", 80)


async def test_old_addresses_serve_while_the_resolver_fails() -> None:
    names = Names(v4(1))
    resolver = names.resolver()
    await resolver.resolve("a.test", 80)
    names.now, names.failing = 100, True
    assert await resolver.resolve("a.test", 80) == [v4(1)]
    names.failing, names.addresses = False, [v4(2)]
    assert await resolver.resolve("a.test", 80) == [v4(2)]


async def test_old_addresses_serve_while_the_resolver_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "STALE_WAIT", 0.01)
    names = Names(v4(1))
    resolver = names.resolver()
    await resolver.resolve("a.test", 80)
    names.now, names.addresses = 100, [v4(2)]
    names.gate.clear()
    assert await resolver.resolve("a.test", 80) == [v4(1)]
    names.gate.set()
    await asyncio.sleep(0)
    assert await resolver.resolve("a.test", 80) == [v4(2)]
    assert names.asked == 2


async def test_each_connection_starts_with_another_address_of_the_preferred_family() -> None:
    resolver = Names(v6(1), v6(2), v4(1), v4(2)).resolver()
    orders = [await resolver.resolve("a.test", 80) for _ in range(4)]
    assert {order[0] for order in orders} == {v6(1), v6(2)}
    for order in orders:
        assert [address.family for address in order] == [socket.AF_INET6, socket.AF_INET] * 2
        assert set(order) == {v6(1), v6(2), v4(1), v4(2)}


def test_families_alternate_and_none_is_lost() -> None:
    assert interleave([v4(1), v4(2), v4(3), v6(1)]) == [v4(1), v6(1), v4(2), v4(3)]
    assert interleave([v6(1)]) == [v6(1)]


async def test_double_addresses_are_tried_once() -> None:
    assert await Names(v4(1), v4(1)).resolver().resolve("a.test", 80) == [v4(1)]


def test_addresses_need_no_lookup() -> None:
    assert literal("192.0.2.1", 80) == v4(1)
    assert literal("2001:db8::1", 80) == v6(1)
    assert literal("a.test", 80) is None


async def test_an_address_is_not_looked_up() -> None:
    names = Names()
    resolver = names.resolver()
    for now in (0, 1e9):
        names.now = now
        assert await resolver.resolve("192.0.2.1", 80) == [v4(1)]
    assert names.asked == 0


async def test_the_system_knows_its_own_name() -> None:
    found = await system_lookup("localhost", 8081)
    assert Address(socket.AF_INET, ("127.0.0.1", 8081)) in found


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "CACHE_LIMIT", 2)
    names = Names(v4(1))
    resolver = names.resolver()
    for host in ("a.test", "b.test", "c.test", "c.test"):
        await resolver.resolve(host, 80)
    assert names.asked == 3


async def test_closing_gives_up_what_is_under_way() -> None:
    names = Names(v4(1))
    names.gate.clear()
    resolver = names.resolver()
    asking = asyncio.ensure_future(resolver.resolve("a.test", 80))
    await asyncio.sleep(0)
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_what_is_no_name_is_an_error_of_the_network() -> None:
    for host in ("a" * 64 + ".example", "a..example"):
        with pytest.raises(OSError, match="no name of a host"):
            await system_lookup(host, 80)
