"""What servers do: one table of behaviours, with what comes of each in this program's client and in aiohttp's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from apipod_proxy.errors import Unreachable, UpstreamBroken, UpstreamError, UpstreamTimeout
from tests.fakes.server import Do, Script, answer, chunked


class Answer(NamedTuple):
    status: int
    body: bytes


class Failed(NamedTuple):
    """An exception of any kind, aiohttp's side: its types cut the matter differently."""


FAILED: Final = Failed()
Outcome = Answer | type[UpstreamError]


class Case(NamedTuple):
    """``kept``: the connection serves the next request too. ``theirs`` is None where aiohttp agrees; else ``why`` says who is right.

    Where aiohttp waits for ever, its test has a total timeout, which counts as failed.
    """

    name: str
    script: Script
    ours: Outcome
    kept: bool = False
    theirs: Answer | Failed | None = None
    why: str = ""
    method: str = "POST"

    @property
    def expected_of_aiohttp(self) -> Answer | Failed:
        if self.theirs is not None:
            return self.theirs
        return self.ours if isinstance(self.ours, Answer) else FAILED


HI: Final = Answer(200, b"hi")
OK: Final = b"HTTP/1.1 200 OK\r\n"
LENGTH_2: Final = b"Content-Length: 2\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
WHOLE: Final = b"2\r\nhi\r\n0\r\n\r\n"


def reply(*pieces: bytes | float) -> Script:
    """Answers every request of the connection so."""
    return (Do.REQUEST, *pieces, Do.AGAIN)


def cut(*pieces: bytes | float) -> Script:
    return (Do.REQUEST, *pieces, Do.CLOSE)


def reset(*pieces: bytes | float) -> Script:
    return (Do.REQUEST, *pieces, Do.RESET)


def silence(*pieces: bytes | float) -> Script:
    return (Do.REQUEST, *pieces, Do.STALL)


def head(*lines: bytes, body: bytes = b"hi") -> bytes:
    """An answer of these header lines, with a length of 2."""
    return OK + b"".join(line + b"\r\n" for line in lines) + LENGTH_2 + b"\r\n" + body


def slowly(data: bytes, gap: float) -> Iterator[bytes | float]:
    for byte in data:
        yield bytes((byte,))
        yield gap


BROKEN = UpstreamBroken

STATUS_LINES: Final = (
    Case("a status line without reason", reply(b"HTTP/1.1 200\r\n" + LENGTH_2 + b"\r\nhi"), HI, kept=True),
    Case("line breaks before the status line", reply(b"\r\n\r\n" + head()), HI, kept=True),
    Case("HTTP/0.9: content at once", cut(b"<html>hi</html>"), BROKEN),
    Case("the settings frame of HTTP/2", cut(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"), BROKEN),
    Case("TLS where plain text was expected", cut(b"\x15\x03\x01\0\x02\x02\x46"), BROKEN),
    Case("an SSH banner", cut(b"SSH-2.0-OpenSSH_9.2\r\n"), BROKEN),
    Case("binary garbage", cut(bytes(range(128, 256)) * 4), BROKEN),
    Case("an unknown HTTP version", reply(b"HTTP/1.2 200 OK\r\n" + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case("HTTP/2.0 in text: taken, not kept", reply(b"HTTP/2.0 200 OK\r\n" + LENGTH_2 + b"\r\nhi"), HI),
    Case("the protocol's name in lower case", reply(b"http/1.1 200 OK\r\n" + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case("two spaces before the status", reply(b"HTTP/1.1  200 OK\r\n" + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case("a status of two digits", reply(b"HTTP/1.1 20 OK\r\n" + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case("a status of four digits", reply(b"HTTP/1.1 2000 OK\r\n" + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case(
        "status 000",
        reply(b"HTTP/1.1 000 OK\r\n" + LENGTH_2 + b"\r\nhi"),
        BROKEN,
        theirs=Answer(0, b"hi"),
        why="there is no such class of status, and nothing that could be told to a client",
    ),
    Case(
        "status 099",
        reply(b"HTTP/1.1 099 OK\r\n" + LENGTH_2 + b"\r\nhi"),
        BROKEN,
        theirs=Answer(99, b"hi"),
        why="as status 000",
    ),
    Case("status 999", reply(b"HTTP/1.1 999 OK\r\n" + LENGTH_2 + b"\r\nhi"), Answer(999, b"hi"), kept=True),
)

INTERIM: Final = (
    Case("100 Continue unasked", reply(b"HTTP/1.1 100 Continue\r\n\r\n" + head()), HI, kept=True),
    Case(
        "102, 103 and 104 before the answer",
        reply(
            b"HTTP/1.1 102 P\r\n\r\n",
            0.01,
            b"HTTP/1.1 103 E\r\nLink: </a>\r\n\r\nHTTP/1.1 104 U\r\n\r\n",
            head(),
        ),
        HI,
        kept=True,
    ),
    Case(
        "a length on an interim answer",
        reply(b"HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\n" + head()),
        HI,
        kept=True,
    ),
    Case(
        "a flood of interim answers",
        reply(b"HTTP/1.1 102 Processing\r\n\r\n" * 4000, 0.01, head()),
        BROKEN,
        theirs=HI,
        why="an endless flood would otherwise never be an error: the time to the first byte is all that stops it",
    ),
    Case(
        "101 without being asked",
        silence(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        BROKEN,
        theirs=Answer(101, b""),
        why="the server now speaks another protocol; no caller of ours asks for one",
    ),
    Case(
        "interim answers and no final one",
        silence(b"HTTP/1.1 102 P\r\n\r\n", 0.05, b"HTTP/1.1 102 P\r\n\r\n"),
        UpstreamTimeout,
    ),
)

LENGTHS: Final = (
    Case("a length of zero", reply(answer(b"")), Answer(200, b""), kept=True),
    Case("a negative length", reply(OK + b"Content-Length: -2\r\n\r\nhi"), BROKEN),
    Case("a length with a sign", reply(OK + b"Content-Length: +2\r\n\r\nhi"), BROKEN),
    Case("a length in hexadecimal", reply(OK + b"Content-Length: 0x2\r\n\r\nhi"), BROKEN),
    Case("a length beyond 64 bits", reply(OK + b"Content-Length: 99999999999999999999\r\n\r\nhi"), BROKEN),
    Case("a length of nothing", reply(OK + b"Content-Length: \r\n\r\nhi"), BROKEN),
    Case("the same length twice", reply(OK + LENGTH_2 + LENGTH_2 + b"\r\nhi"), BROKEN),
    Case("two different lengths", reply(OK + LENGTH_2 + b"Content-Length: 3\r\n\r\nhi!"), BROKEN),
    Case("a list of lengths", reply(OK + b"Content-Length: 2, 2\r\n\r\nhi"), BROKEN),
    Case("both length and chunked", reply(OK + LENGTH_2 + CHUNKED + b"\r\n" + WHOLE), BROKEN),
    Case("both chunked and length", reply(OK + CHUNKED + LENGTH_2 + b"\r\n" + WHOLE), BROKEN),
    Case("closed before the length is reached", cut(OK + b"Content-Length: 9\r\n\r\nhi"), BROKEN),
    Case("reset before the length is reached", reset(OK + b"Content-Length: 9\r\n\r\nhi"), BROKEN),
    Case(
        "silent before the length is reached", silence(OK + b"Content-Length: 9\r\n\r\nhi"), UpstreamTimeout
    ),
    Case("a terabyte announced, then closed", cut(OK + b"Content-Length: 1099511627776\r\n\r\nhi"), BROKEN),
)

CHUNKS: Final = (
    Case("chunks", reply(chunked(b"h", b"i")), HI, kept=True),
    Case("chunks byte by byte", reply(*slowly(chunked(b"h", b"i"), 0.0)), HI, kept=True),
    Case("a chunk with an extension", reply(OK + CHUNKED + b"\r\n2;a=b\r\nhi\r\n0\r\n\r\n"), HI, kept=True),
    Case("a chunk size with spaces", reply(OK + CHUNKED + b"\r\n2  \r\nhi\r\n0\r\n\r\n"), HI, kept=True),
    Case("a chunk size with zeros in front", reply(OK + CHUNKED + b"\r\n00002\r\nhi\r\n0\r\n\r\n"), HI, kept=True),
    Case("a trailer", reply(chunked(b"hi", end=b"0\r\nX-Sum: 1\r\n\r\n")), HI, kept=True),
    Case("a length in the trailer", reply(chunked(b"hi", end=b"0\r\nContent-Length: 9\r\n\r\n")), BROKEN),
    Case("chunked in capitals", reply(OK + b"Transfer-Encoding: CHUNKED\r\n\r\n" + WHOLE), HI, kept=True),
    Case("chunked said twice", reply(OK + CHUNKED + CHUNKED + b"\r\n" + WHOLE), HI, kept=True),
    Case("a chunk size that is no number", reply(OK + CHUNKED + b"\r\nxyz\r\nhi\r\n0\r\n\r\n"), BROKEN),
    Case("a negative chunk size", reply(OK + CHUNKED + b"\r\n-2\r\nhi\r\n0\r\n\r\n"), BROKEN),
    Case("a chunk size with 0x", reply(OK + CHUNKED + b"\r\n0x2\r\nhi\r\n0\r\n\r\n"), BROKEN),
    Case("a chunk size beyond 64 bits", reply(OK + CHUNKED + b"\r\n" + b"f" * 17 + b"\r\nhi\r\n0\r\n\r\n"), BROKEN),
    Case("an empty chunk size", reply(OK + CHUNKED + b"\r\n\r\nhi\r\n0\r\n\r\n"), BROKEN),
    Case("a chunk longer than its size", reply(OK + CHUNKED + b"\r\n2\r\nhi!\r\n0\r\n\r\n"), BROKEN),
    Case(
        "a chunk shorter than its size",
        reply(OK + CHUNKED + b"\r\n3\r\nhi\r\n0\r\n\r\n"),
        BROKEN,
        theirs=Answer(200, b"hi\r"),
        why="aiohttp lets a bare LF end a chunk, and so takes the CR of the framing for content",
    ),
    Case("bare LF between chunks", reply(OK + CHUNKED + b"\r\n2\nhi\n0\n\n"), BROKEN),
    Case("closed between chunks", cut(OK + CHUNKED + b"\r\n2\r\nhi\r\n"), BROKEN),
    Case("closed inside a chunk", cut(OK + CHUNKED + b"\r\n9\r\nhi"), BROKEN),
    Case("closed inside a chunk size", cut(OK + CHUNKED + b"\r\n2\r\nhi\r\n1"), BROKEN),
    Case("closed inside the last line", cut(OK + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n"), BROKEN),
    Case("reset between chunks", reset(OK + CHUNKED + b"\r\n2\r\nhi\r\n"), BROKEN),
    Case("silent between chunks", silence(OK + CHUNKED + b"\r\n2\r\nhi\r\n"), UpstreamTimeout),
    Case(
        "an endless chunk extension",
        silence(OK + CHUNKED + b"\r\n2;a=" + b"x" * 70_000),
        BROKEN,
    ),
    Case("an endless trailer", silence(chunked(b"hi", end=b"0\r\nX: "), 0.02, b"x" * 70_000), BROKEN),
    Case("gzip as transfer encoding", silence(OK + b"Transfer-Encoding: gzip\r\n\r\nhi"), BROKEN),
    Case(
        "gzip before chunked as transfer encoding",
        reply(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + WHOLE),
        BROKEN,
        theirs=HI,
        why="the content is still compressed; handing it on as it is would be garbage",
    ),
    Case("gzip before chunked, a line each", reply(OK + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n" + WHOLE), BROKEN,
         theirs=HI, why="two lines are the list of both"),
    Case("chunked before gzip", cut(OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + WHOLE), BROKEN,
         theirs=Answer(200, WHOLE), why="a length that cannot be told is an error by RFC 9112, section 6.3"),
    Case("identity as transfer encoding", cut(OK + b"Transfer-Encoding: identity\r\n\r\nhi"), BROKEN,
         theirs=HI, why="the coding was removed from HTTP/1.1 in 1999, and the end of the answer is a guess"),
)  # fmt: skip

UNTIL_CLOSED: Final = (
    Case("no length: until closed", cut(OK + b"\r\nhi"), HI),
    Case("no length, in pieces", cut(OK + b"\r\nh", 0.02, b"i"), HI),
    Case("no length and no content", cut(OK + b"\r\n"), Answer(200, b"")),
    Case("no length, then a reset", reset(OK + b"\r\nhi", 0.02), BROKEN,
         theirs=HI, why="a reset is no end: the answer may have been cut anywhere"),
    Case("no length, then silence", silence(OK + b"\r\nhi"), UpstreamTimeout),
    Case("no length, then half closed", (Do.REQUEST, OK + b"\r\nhi", Do.HALF_CLOSE, Do.STALL), HI),
    Case("HTTP/1.0 until closed", cut(b"HTTP/1.0 200 OK\r\n\r\nhi"), HI),
    Case("HTTP/1.0 with a length", reply(b"HTTP/1.0 200 OK\r\n" + LENGTH_2 + b"\r\nhi"), HI),
    Case(
        "HTTP/1.0 with keep-alive",
        reply(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + LENGTH_2 + b"\r\nhi"),
        HI,
        kept=True,
    ),
    Case("HTTP/1.0 chunked", reply(b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n" + WHOLE), HI),
    Case("Connection: close", cut(head(b"Connection: close")), HI),
    Case("Connection: close, left open", reply(head(b"Connection: Close")), HI),
    Case("keep-alive, then close", reply(head(b"Connection: keep-alive", b"Connection: close")), HI),
    Case("Connection: close and chunked", cut(chunked(b"hi", headers=b"Connection: close\r\n")), HI),
    Case("Connection: close, cut short", cut(OK + b"Connection: close\r\nContent-Length: 9\r\n\r\nhi"), BROKEN),
    Case("closed behind the answer", cut(head()), HI),
    Case("reset behind the answer", reset(head()), HI),
)  # fmt: skip

HEADS: Final = (
    Case("closed without an answer", cut(), Unreachable),
    Case("reset without an answer", reset(), Unreachable),
    Case("closed at once, nothing read", (Do.CLOSE,), Unreachable),
    Case("reset at once, nothing read", (Do.RESET,), Unreachable),
    Case("silent from the start", silence(), UpstreamTimeout),
    Case("closed inside the status line", cut(b"HTTP/1.1 2"), BROKEN),
    Case("closed inside the head", cut(OK + b"Content-Le"), BROKEN),
    Case("reset inside the head", reset(OK + b"Content-Le"), BROKEN),
    Case("silent inside the head", silence(OK + b"Content-Le"), UpstreamTimeout),
    Case("the head byte by byte", reply(*slowly(head(), 0.0)), HI, kept=True),
    Case(
        "the head slower than the time to the first byte",
        silence(*slowly(head()[:30], 0.04)),
        UpstreamTimeout,
    ),
    Case("a head of 70 KB in one line", silence(OK + b"X: " + b"x" * 70_000), BROKEN),
    Case("5,000 headers", reply(head(*[b"X: y"] * 5000)), BROKEN),
    Case("300 headers", reply(head(*[b"X: y"] * 300)), BROKEN),
    Case(
        "200 headers",
        reply(head(*[b"X: y"] * 200)),
        HI,
        kept=True,
        theirs=FAILED,
        why="it stops at 128; 200 small ones harm nobody",
    ),
    Case(
        "a header of 20 KB",
        reply(head(b"X: " + b"x" * 20_000)),
        HI,
        kept=True,
        theirs=FAILED,
        why="it stops at 8 KB a line; the bound here is 64 KB for the whole head",
    ),
    Case("NUL in a header", reply(head(b"X: a\0b")), BROKEN),
    Case("a bare CR in a header", reply(head(b"X: a\rY: b")), BROKEN),
    Case(
        "a control character in a header",
        reply(head(b"X: a\x01b")),
        BROKEN,
        theirs=HI,
        why="RFC 9110, section 5.5 calls it invalid; it could only be passed on",
    ),
    Case(
        "a folded header",
        reply(head(b"X: a", b"  b")),
        BROKEN,
        theirs=HI,
        why="RFC 9112, section 5.2 has a gateway answer 502 or unfold it; no provider sends one",
    ),
    Case(
        "a space before the first header",
        reply(OK + b" X: a\r\n" + LENGTH_2 + b"\r\nhi"),
        BROKEN,
        theirs=HI,
        why="as the folded header",
    ),
    Case(
        "bare LF as line end",
        reply(OK.replace(b"\r", b"") + b"Content-Length: 2\n\nhi"),
        BROKEN,
        theirs=HI,
        why="RFC 9112, section 2.2 allows both; being lenient here would let cut chunks pass, see above",
    ),
    Case(
        "a space before the colon",
        reply(OK + b"Content-Length : 2\r\n\r\nhi"),
        BROKEN,
        theirs=HI,
        why="RFC 9112, section 5.1 lets only a proxy repair it; two readings of one length are how answers get mixed up",
    ),
    Case("a header without colon", reply(head(b"foo")), BROKEN),
    Case("a header without name", reply(head(b": x")), BROKEN),
    Case("a space in a header's name", reply(head(b"foo bar: x")), BROKEN),
    Case("UTF-8 in a header's name", reply(head("fé: x".encode())), BROKEN),
    Case("UTF-8 in a header's value", reply(head("X: é".encode())), HI, kept=True),
    Case("tabs around a value", reply(head(b"X:\ty\t")), HI, kept=True),
    Case("an upgrade offered on a plain answer", reply(head(b"Connection: upgrade", b"Upgrade: h2c")), HI, kept=True),
)  # fmt: skip

PLAIN = b'{"a": 1}' * 50
GZIP = gzip.compress(PLAIN, mtime=0)
DEFLATE = zlib.compress(PLAIN)
RAW_DEFLATE = zlib.compressobj(wbits=-15).compress(b"") + zlib.compress(PLAIN)[2:-4]
BOMB = gzip.compress(bytes(40_000_000), mtime=0)
PLAINLY: Final = Answer(200, PLAIN)

BODIES: Final = (
    Case("204 without length", reply(b"HTTP/1.1 204 No\r\n\r\n"), Answer(204, b""), kept=True),
    Case(
        "204 with a body",
        reply(b"HTTP/1.1 204 No\r\n" + LENGTH_2 + b"\r\nhi"),
        Answer(204, b""),
        theirs=FAILED,
        why="204 ends with its head; what follows costs the connection, not the answer",
    ),
    Case("304 with a length", reply(b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"), Answer(304, b""), kept=True),
    Case("HEAD answered with a length", reply(OK + b"Content-Length: 5\r\n\r\n"), Answer(200, b""), method="HEAD"),
    Case(
        "garbage behind the answer",
        reply(head(body=b"higarbage")),
        HI,
        theirs=FAILED,
        why="the answer was whole; aiohttp judges by whether both came in one read",
    ),
    Case("a second answer behind the first", reply(head() + head(body=b"ho")), HI),
    Case("the beginning of a second answer", reply(head() + b"HTTP/1.1 2"), HI),
    Case("a line break behind the answer", reply(head() + b"\r\n"), HI, kept=True),
    Case(
        "content behind Connection: close",
        reply(head(b"Connection: close", body=b"higarbage")),
        HI,
        theirs=FAILED,
        why="as garbage behind the answer",
    ),
    Case("gzip although identity was asked", reply(answer(GZIP, headers=b"Content-Encoding: gzip\r\n")), PLAINLY, kept=True),
    Case("gzip in chunks", reply(chunked(GZIP[:9], GZIP[9:], headers=b"Content-Encoding: x-gzip\r\n")), PLAINLY, kept=True,
         theirs=Answer(200, GZIP), why="x-gzip is gzip by RFC 9110, section 8.4.1.3"),
    Case("gzip of two members", reply(answer(GZIP + GZIP, headers=b"Content-Encoding: GZip\r\n")), Answer(200, PLAIN * 2), kept=True),
    Case("deflate", reply(answer(DEFLATE, headers=b"Content-Encoding: deflate\r\n")), PLAINLY, kept=True),
    Case("deflate without zlib's header", reply(answer(DEFLATE[2:-4], headers=b"Content-Encoding: deflate\r\n")), PLAINLY, kept=True),
    Case("gzip cut short, well framed", reply(answer(GZIP[:-12], headers=b"Content-Encoding: gzip\r\n")), BROKEN,
         theirs=Answer(200, zlib.decompressobj(31).decompress(GZIP[:-12])), why="a cut answer is no answer"),
    Case("gzip that is none", reply(answer(PLAIN, headers=b"Content-Encoding: gzip\r\n")), BROKEN),
    Case("gzip with a wrong checksum", reply(answer(GZIP[:-8] + bytes(8), headers=b"Content-Encoding: gzip\r\n")), BROKEN),
    Case("gzip of no content", reply(answer(b"", headers=b"Content-Encoding: gzip\r\n")), Answer(200, b""), kept=True),
    Case("gzip that grows a thousandfold", reply(answer(BOMB, headers=b"Content-Encoding: gzip\r\n")), BROKEN,
         theirs=Answer(200, bytes(40_000_000)), why="16 MB from one read is no JSON; the memory of all streams is at stake"),
    Case("identity as content coding", reply(head(b"Content-Encoding: identity")), HI, kept=True),
    Case("a character set as content coding", reply(head(b"Content-Encoding: UTF-8")), HI, kept=True),
    Case("no content coding by name", reply(head(b"Content-Encoding: none")), HI, kept=True),
    Case("gzip and identity", reply(answer(GZIP, headers=b"Content-Encoding: gzip, identity\r\n")), PLAINLY, kept=True,
         theirs=Answer(200, GZIP), why="identity changes nothing of what gzip made"),
    Case("gzip and identity, a line each",
         reply(answer(GZIP, headers=b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n")), PLAINLY, kept=True,
         theirs=Answer(200, GZIP), why="two lines are the list of both"),
    Case("gzip that is padded with zeros", reply(answer(GZIP + bytes(512), headers=b"Content-Encoding: gzip\r\n")), PLAINLY,
         kept=True, theirs=FAILED, why="the content was whole, and gzip itself takes it"),
    Case("a content coding nobody knows", reply(head(b"Content-Encoding: rot13")), BROKEN,
         theirs=HI, why="the content could be neither read nor priced, and its name would not reach the client"),
)  # fmt: skip

CASES: Final = (*STATUS_LINES, *INTERIM, *LENGTHS, *CHUNKS, *UNTIL_CLOSED, *HEADS, *BODIES)
