from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hiredis
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apipod_proxy.limit.wire import Address, Wire, command, connect, parse_url

from .conftest import OwnRedis, until

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking_to(script: Script, seconds: float = 0.05) -> AsyncIterator[Wire]:
    """A wire to a server that does what ``script`` says, instead of a Redis."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = await connect(Address("127.0.0.1", port, "", False, "", "", 0), seconds, lambda: None)
    try:
        yield wire
    finally:
        wire.close()
        await wire.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", Address("cache", 6379, "", False, "", "", 0)),
        ("redis://cache:7000/3", Address("cache", 7000, "", False, "", "", 3)),
        ("rediss://me:p%40ss@cache/", Address("cache", 6379, "", True, "me", "p@ss", 0)),
        ("redis://:secret@cache?db=2", Address("cache", 6379, "", False, "", "secret", 2)),
        (
            "rediss://cache?ssl_cert_reqs=none&ssl_ca_certs=/etc/ca.pem",
            Address("cache", 6379, "", True, "", "", 0, False, "/etc/ca.pem"),
        ),
        ("unix:///run/redis.sock?db=1", Address("localhost", 6379, "/run/redis.sock", False, "", "", 1)),
    ],
)
def test_urls_are_read(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize("url", ["http://cache", "redis://cache/zero", "cache:6379"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Redis URL"):
        parse_url(url)


async def test_commands_are_answered_in_order_on_one_connection(own_redis: OwnRedis) -> None:
    wire = await connect(parse_url(own_redis.url), 1.0, lambda: None)
    calls = [wire.call(command(b"INCR", b"n")) for _ in range(100)]
    assert await asyncio.gather(*calls) == list(range(1, 101))
    assert await wire.call(command(b"GET", b"n")) == b"100"
    with pytest.raises(hiredis.ReplyError, match="wrong number"):
        await wire.call(command(b"GET"))
    wire.close()
    await wire.wait_closed()


async def test_it_logs_in_and_chooses_its_database(tmp_path: Path) -> None:
    server = OwnRedis(tmp_path, "--requirepass", "secret", "--unixsocket", str(tmp_path / "redis.sock"))
    await server.start()
    try:
        address = parse_url(f"redis://:secret@127.0.0.1:{server.port}/4")
        for good in (
            address,
            address._replace(username="default"),
            address._replace(path=str(tmp_path / "redis.sock")),
        ):
            wire = await connect(good, 1.0, lambda: None)
            assert b"db=4" in await wire.call(command(b"CLIENT", b"INFO"))
            wire.close()
            await wire.wait_closed()
        with pytest.raises(ConnectionError, match="WRONGPASS"):
            await connect(address._replace(password="other"), 1.0, lambda: None)
    finally:
        await server.stop()


def certificate(folder: Path) -> tuple[str, str]:
    """Files of a certificate for localhost that nobody but itself vouches for, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(files[0]), str(files[1])


async def test_tls_is_spoken_with_whom_is_trusted(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            writer.write(b"+PONG\r\n")
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}/"
    try:
        for trust in (f"?ssl_ca_certs={cert}", "?ssl_cert_reqs=none"):
            wire = await connect(parse_url(url + trust), 1.0, lambda: None)
            assert await wire.call(command(b"PING")) == b"PONG"
            wire.close()
            await wire.wait_closed()
        with pytest.raises(ConnectionError, match="certificate"):
            await connect(parse_url(url), 1.0, lambda: None)
    finally:
        server.close()
        await server.wait_closed()


async def test_nobody_listening_is_said() -> None:
    with pytest.raises(ConnectionError):
        await connect(Address("127.0.0.1", 1, "", False, "", "", 0), 1.0, lambda: None)


async def test_a_cancelled_connect_leaves_nothing_open() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    task = asyncio.create_task(
        connect(Address("127.0.0.1", port, "", False, "", "word", 0), 5.0, lambda: None)
    )
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.close()
    await server.wait_closed()


async def test_a_late_answer_fails_its_call_and_goes_to_whom_it_may_concern() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        await asyncio.sleep(0.08)
        writer.write(b":1\r\n:2\r\n")
        await reader.read(100)
        writer.write(b":3\r\n")

    async with talking_to(slow) as wire:
        late: list[object] = []
        first, second = wire.call(command(b"A"), late.append), wire.call(command(b"B"))
        for call in (first, second):
            with pytest.raises(TimeoutError):
                await call
        await until(lambda: late == [1])
        assert await wire.call(command(b"C")) == 3


async def test_the_answer_to_a_cancelled_call_goes_to_whom_it_may_concern() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"+taken\r\n")
        await reader.read(100)

    async with talking_to(answer) as wire:
        late: list[object] = []
        wire.call(command(b"A"), late.append).cancel()
        await until(lambda: late == [b"taken"])


async def test_a_busy_loop_is_no_slow_redis() -> None:
    """The answer lies in the socket when the time is up: one more turn is granted to read it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b":1\r\n")
        await reader.read(100)

    async with talking_to(echo, 0.03) as wire:
        call = wire.call(command(b"A"))
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        busy_until = loop.time() + 0.05

        def hold() -> None:
            while loop.time() < busy_until:
                sum(range(1000))

        loop.call_soon(hold)
        assert await call == 1


async def test_calls_that_follow_each_other_each_have_their_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        await reader.read()

    async with talking_to(silent, 0.04) as wire:
        loop = asyncio.get_running_loop()
        first, started = wire.call(command(b"A")), loop.time()
        await asyncio.sleep(0.02)
        second = wire.call(command(b"B"))
        with pytest.raises(TimeoutError):
            await first
        assert not second.done()
        with pytest.raises(TimeoutError):
            await second
        assert loop.time() - started >= 0.055


@pytest.mark.parametrize("farewell", [b"", b"what is this?\r\n"])
async def test_a_lost_connection_is_told_to_all_who_wait(farewell: bytes) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(farewell)

    async with talking_to(leave, 5.0) as wire:
        told: list[object] = []
        wire.post(command(b"A"), told.append)
        with pytest.raises(ConnectionError):
            await wire.call(command(b"B"))
        assert isinstance(told[0], ConnectionError)
        with pytest.raises(ConnectionError):
            await wire.call(command(b"C"))
        wire.post(command(b"D"), told.append)
        assert isinstance(told[1], ConnectionError)
