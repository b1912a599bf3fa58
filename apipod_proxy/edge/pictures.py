"""The routers' own endpoints for pictures: ``/image`` answers with the picture itself, ``/v1/images/text`` says what is on one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.identity import TopLevel
from apipod_proxy.dialect.operations import OPERATIONS
from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.passthrough import Operations
from apipod_proxy.edge.surface import Completions, Hall
from apipod_proxy.errors import BadRequest, ProxyError
from apipod_proxy.exchange import Exchange, Outcome


class Picture(NamedTuple):
    data: bytes
    media_type: str


class Studio(NamedTuple):
    """What the handlers know of pictures. ``to_image`` and ``to_chat`` make a request of OpenAI's out of the client's; they raise BadRequest.

    ``picture`` finds the picture in an answer and fetches it where it is a URL, ``text`` makes the answer that tells what is on one;
    both raise ProxyError.
    """

    to_image: Callable[[bytes], bytes]
    to_chat: Callable[[bytes], bytes]
    picture: Callable[[bytes], Awaitable[Picture]]
    text: Callable[[bytes], bytes]


class HeldAnswer(Answer):
    """Keeps a good answer back, so that another one can be made of it; errors go out as they are."""

    __slots__ = ("held",)

    def __init__(self, request: Request, date: bytes) -> None:
        super().__init__(request, date)
        self.held = b""

    def send(self, status: int, content_type: bytes, body: bytes, *, head_only: bool = False) -> None:
        if status == 200:
            self.held = body
        else:
            super().send(status, content_type, body, head_only=head_only)

    def deliver(self, content_type: bytes, body: bytes) -> None:
        """Send what was made of it."""
        super().send(200, content_type, body)


class Paint(Operations):
    """``/image``: ``{model, prompt | inputs}`` in, the bytes of the picture with its true type out."""

    def __init__(self, hall: Hall, dialect: Dialect, studio: Studio) -> None:
        super().__init__(hall, dialect, OPERATIONS["images"])
        self._studio = studio

    def _client(self, request: Request, date: bytes, stream: bool) -> Answer:
        return HeldAnswer(request, date)

    def _top(self, request: Request, x: Exchange, model: str | None, stream: bool) -> TopLevel:
        x.body = self._studio.to_image(x.body)
        return super()._top(request, x, model, stream)

    async def _answer(self, x: Exchange, client: Answer) -> None:
        assert isinstance(client, HeldAnswer)
        await super()._answer(x, client)
        try:
            picture = await self._studio.picture(client.held)
        except ProxyError:
            # The provider did its part and is paid, but there is nothing for the client.
            x.outcome = Outcome.FAILED
            raise
        client.deliver(picture.media_type.encode(), picture.data)


class Describe(Completions):
    """``/v1/images/text``: ``{model, image_url | image, prompt?}`` in, ``{"text": …}`` out."""

    def __init__(self, hall: Hall, dialect: Dialect, studio: Studio) -> None:
        super().__init__(hall, dialect)
        self._studio = studio

    def _client(self, request: Request, date: bytes, stream: bool) -> Answer:
        return HeldAnswer(request, date)

    def _top(self, request: Request, x: Exchange, model: str | None, stream: bool) -> TopLevel:
        x.body = self._studio.to_chat(x.body)
        return super()._top(request, x, model, stream)

    async def _answer(self, x: Exchange, client: Answer) -> None:
        assert isinstance(client, HeldAnswer)
        try:
            await super()._answer(x, client)
        except BadRequest as error:
            if error.path is None or not error.path.startswith("$.messages"):
                raise
            # The client knows nothing of the messages that were made of its request.
            raise BadRequest(error.problem, "$.image_url") from error
        try:
            told = self._studio.text(client.held)
        except ProxyError:
            x.outcome = Outcome.FAILED
            raise
        client.deliver(b"application/json", told)
