"""The handlers of operations that are no completions: embeddings, images, moderations, sound, text completions."""

from __future__ import annotations

from collections.abc import Mapping

from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.identity import TopLevel
from apipod_proxy.dialect.operations import OPERATIONS, Operation, read_operation
from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.door import HotHandle
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.routes import VerbHandle
from apipod_proxy.edge.surface import Completions, Hall
from apipod_proxy.exchange import Exchange

PATHS: Mapping[str, str] = {
    "/v1/embeddings": "embeddings",
    "/v1/images/generations": "images",
    "/v1/completions": "completions",
    "/v1/moderations": "moderations",
    "/v1/audio/speech": "speech",
    "/v1/audio/transcriptions": "transcriptions",
    "/v1/audio/translations": "translations",
}
"""The operations of OpenAI's API by path."""

GEMINI_VERBS: Mapping[str, str] = {
    ":embedContent": "gemini_embed",
    ":batchEmbedContents": "gemini_batch_embed",
}
"""Those of Gemini's, whose paths hold the model, by what follows it."""


class Operations(Completions):
    """One operation: as completions are served, with what is read of the request being the operation's."""

    def __init__(self, hall: Hall, dialect: Dialect, operation: Operation) -> None:
        super().__init__(hall, dialect)
        self._operation = operation

    def _top(self, request: Request, x: Exchange, model: str | None, stream: bool) -> TopLevel:
        x.operation = self._operation.name
        return read_operation(self._operation, x.body, request.headers.get("content-type", ""), model or "")

    async def of_model(self, request: Request, model: str) -> Answer:
        """A request whose URL names the model."""
        return await self.run(request, model, False)


def operation_handles(hall: Hall, dialects: Mapping[str, Dialect]) -> dict[str, HotHandle]:
    """The handlers of PATHS."""
    return {path: _handler(hall, dialects, name).handle for path, name in PATHS.items()}


def operation_verbs(hall: Hall, dialects: Mapping[str, Dialect]) -> dict[str, VerbHandle]:
    """The handlers of GEMINI_VERBS."""
    return {verb: _handler(hall, dialects, name).of_model for verb, name in GEMINI_VERBS.items()}


def _handler(hall: Hall, dialects: Mapping[str, Dialect], name: str) -> Operations:
    operation = OPERATIONS[name]
    return Operations(hall, dialects[operation.dialect], operation)
