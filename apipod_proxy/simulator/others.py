"""The endpoints beside conversation: embeddings, images, moderations, speech, and lists of models."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import math
import struct
from collections.abc import Iterator

from apipod_proxy.simulator.answers.scene import DONE, Frame, Scene, dumps, pretty
from apipod_proxy.simulator.ask import JSON, Ask, Refusal, is_object, listed, strings

# One transparent pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
MODELS = ("sim-20-0", "sim-20-50", "sim-100-20", "gpt-sim", "claude-sim", "gemini-sim", "text-embedding-sim")
_CREATED = 1_767_225_600  # 2026-01-01
_SIZES = {"text-embedding-3-large": 3072, "gemini-embedding-001": 3072, "text-embedding-004": 768}
_MODERATION = (
    *(
        "harassment",
        "harassment/threatening",
        "hate",
        "hate/threatening",
        "illicit",
        "illicit/violent",
        "self-harm",
        "self-harm/instructions",
    ),
    *("self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)
_AUDIO = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def _require(body: JSON, *names: str) -> None:
    for name in names:
        if body.get(name) is None:
            raise Refusal(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )


def _vector(text: str, size: int) -> list[float]:
    """A direction that depends on the text alone; of length 1."""
    raw = struct.unpack(f"<{size}h", hashlib.shake_256(text.encode()).digest(2 * size))
    length = math.sqrt(sum(x * x for x in raw)) or 1.0
    return [x / length for x in raw]


def embeddings(body: JSON) -> bytes:
    """OpenAI's /v1/embeddings; token lists count as texts."""
    _require(body, "model", "input")
    given = body["input"]
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise Refusal(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
        )
    size = body.get("dimensions")
    if size is not None and (type(size) is not int or not 1 <= size <= 10_000):
        raise Refusal("Invalid 'dimensions': expected an integer.", param="dimensions", code="invalid_value")
    size = size or _SIZES.get(str(body["model"]), 1536)
    data = []
    for index, one in enumerate(given):
        vector: object = _vector(str(one), size)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{size}f", *_vector(str(one), size))).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(len(one) if isinstance(one, list) else 1 + len(str(one)) // 4 for one in given)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return pretty({"object": "list", "data": data, "model": body["model"], "usage": usage})


def gemini_embedding(model: str, body: object) -> JSON:
    """The inside of embedContent, also of each request of batchEmbedContents."""
    content = body.get("content") if is_object(body) else None
    parts = content.get("parts") if is_object(content) else None
    if not isinstance(parts, list) or not parts:
        raise Refusal("* EmbedContentRequest.content: contents is not specified\n")
    text = "".join(str(part.get("text", "")) for part in parts if is_object(part))
    size = (
        (body.get("outputDimensionality") or body.get("output_dimensionality")) if is_object(body) else None
    )
    size = size if isinstance(size, int) and 1 <= size <= 10_000 else _SIZES.get(model, 768)
    return {"values": _vector(text, size)}


def embed_content(model: str, body: JSON) -> bytes:
    """Gemini's embedContent."""
    return pretty({"embedding": gemini_embedding(model, body)})


def batch_embed_contents(model: str, body: JSON) -> bytes:
    """Gemini's batchEmbedContents."""
    requests = body.get("requests")
    if not isinstance(requests, list) or not requests:
        raise Refusal("* BatchEmbedContentsRequest.requests: requests is not specified\n")
    return pretty({"embeddings": [gemini_embedding(model, one) for one in requests]})


def _image_count(body: JSON) -> int:
    _require(body, "prompt")
    count = body.get("n") or 1
    if not isinstance(count, int) or not 1 <= count <= 10:
        raise Refusal("Invalid 'n': expected an integer between 1 and 10.", param="n", code="invalid_value")
    return count


def _image_usage(body: JSON) -> JSON:
    words = 1 + len(str(body["prompt"])) // 4
    return {
        "input_tokens": words,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": words},
        "output_tokens": 272,
        "total_tokens": words + 272,
    }


def images(body: JSON, now: int) -> bytes:
    """OpenAI's /v1/images/generations: one pixel, as often as asked."""
    by_url = body.get("response_format") == "url"
    one = {"url": f"data:image/png;base64,{PNG}"} if by_url else {"b64_json": PNG}
    return pretty({"created": now, "data": [one] * _image_count(body), "usage": _image_usage(body)})


def image_stream(body: JSON, now: int) -> Iterator[Frame]:
    """The same as a stream: the partial images that were asked for, then the whole one."""
    _image_count(body)
    fixed = {
        "b64_json": PNG,
        "created_at": now,
        "size": "1x1",
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
    }
    partial = body.get("partial_images")
    for index in range(partial if isinstance(partial, int) else 0):
        yield True, _image_event("image_generation.partial_image", fixed | {"partial_image_index": index})
    yield True, _image_event("image_generation.completed", fixed | {"usage": _image_usage(body)})


def _image_event(name: str, members: JSON) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), dumps({"type": name, **members}))


def moderations(body: JSON, answer_id: str) -> bytes:
    """OpenAI's /v1/moderations: flagged is what holds the word "violence"."""
    _require(body, "input")
    given = body["input"]
    texts = strings(given) or [str(part.get("text", "")) for part in listed(given) if is_object(part)]
    results = []
    for text in texts:
        hit = "violence" in text.lower()
        categories = {name: hit and name == "violence" for name in _MODERATION}
        scores = {name: 0.98 if flagged else 0.0001 for name, flagged in categories.items()}
        kinds = {name: ["text"] for name in _MODERATION}
        results.append(
            {
                "flagged": hit,
                "categories": categories,
                "category_scores": scores,
                "category_applied_input_types": kinds,
            }
        )
    return pretty(
        {"id": answer_id, "model": body.get("model") or "omni-moderation-latest", "results": results}
    )


def read_completion(body: JSON) -> Ask:
    """The legacy /v1/completions: the prompt is what the user says."""
    _require(body, "model", "prompt")
    prompt = "\n".join(strings(body["prompt"]))
    ask = Ask(str(body["model"]), stream=body.get("stream") is True, turns=1, characters=len(prompt))
    ask.says(prompt)
    most = body.get("max_tokens")
    ask.max_tokens = most if isinstance(most, int) and most > 0 else 16
    ask.stops = strings(body.get("stop"))
    return ask


def _completion(scene: Scene, answer_id: str, text: str, finish: str | None) -> JSON:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {
        "id": answer_id,
        "object": "text_completion",
        "created": scene.now,
        "model": scene.model,
        "choices": [choice],
    }


def _finish(scene: Scene) -> str:
    return "length" if scene.reply.stop == "length" else "stop"


def _completion_usage(scene: Scene) -> JSON:
    usage = scene.reply.usage
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
    }


def completion(scene: Scene) -> bytes:
    """The whole answer of /v1/completions."""
    answer = _completion(scene, scene.ids.completion(), scene.reply.text, _finish(scene))
    return pretty(answer if scene.script.no_usage else answer | {"usage": _completion_usage(scene)})


def completion_stream(scene: Scene) -> Iterator[Frame]:
    """The answer of /v1/completions as a stream."""
    answer_id = scene.ids.completion()
    for piece in scene.reply.pieces:
        yield True, b"data: " + dumps(_completion(scene, answer_id, piece, None)) + b"\n\n"
    yield False, b"data: " + dumps(_completion(scene, answer_id, "", _finish(scene))) + b"\n\n"
    options = scene.body.get("stream_options")
    if is_object(options) and options.get("include_usage") and not scene.script.no_usage:
        last = _completion(scene, answer_id, "", None) | {"choices": [], "usage": _completion_usage(scene)}
        yield False, b"data: " + dumps(last) + b"\n\n"
    if not scene.script.no_done:
        yield False, DONE


def speech(body: JSON) -> tuple[bytes, str]:
    """OpenAI's /v1/audio/speech: a tenth of a second of silence, and its content type."""
    _require(body, "model", "input", "voice")
    kind = str(body.get("response_format") or "mp3")
    if kind not in _AUDIO:
        raise Refusal(
            f"Invalid value: '{kind}'. Supported values are: {', '.join(_AUDIO)}.",
            param="response_format",
            code="invalid_value",
        )
    silence = bytes(4800)
    if kind == "wav":
        header = b"RIFF%sWAVEfmt %s" % (
            struct.pack("<I", 36 + len(silence)),
            struct.pack("<IHHIIHH", 16, 1, 1, 24000, 48000, 2, 16),
        )
        return header + b"data" + struct.pack("<I", len(silence)) + silence, _AUDIO[kind]
    # Layer III at 128 kbit/s has frames of 417 bytes.
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    return (silence if kind == "pcm" else frame * 4), _AUDIO[kind]


def read_form(content_type: str, raw: bytes) -> dict[str, str | bytes]:
    """The fields of a multipart body; files as bytes."""
    message = email.message_from_bytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw, policy=email.policy.HTTP
    )
    form: dict[str, str | bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        form[str(name)] = data if part.get_filename() else data.decode(errors="replace").removesuffix("\r\n")
    return form


def transcription(form: dict[str, str | bytes]) -> tuple[bytes, str]:
    """OpenAI's /v1/audio/transcriptions and translations: says how much it heard; and its content type."""
    file = form.get("file")
    if not isinstance(file, bytes):
        raise Refusal("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    if "model" not in form:
        raise Refusal(
            "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
        )
    text = f"The simulator heard {len(file)} bytes."
    match form.get("response_format", "json"):
        case "text":
            return text.encode() + b"\n", "text/plain; charset=utf-8"
        case "srt":
            return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n".encode(), "text/plain; charset=utf-8"
        case "vtt":
            return (
                f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n".encode(),
                "text/plain; charset=utf-8",
            )
        case "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": 1.0, "text": text}
            return dumps(
                {
                    "task": "transcribe",
                    "language": "english",
                    "duration": 1.0,
                    "text": text,
                    "segments": [segment],
                }
            ), "application/json"
        case _:
            return dumps({"text": text, "usage": {"type": "duration", "seconds": 1}}), "application/json"


def openai_model(name: str) -> JSON:
    """A model in OpenAI's list."""
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulator"}


def anthropic_model(name: str) -> JSON:
    """A model in Anthropic's list."""
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
    }


def gemini_model(name: str) -> JSON:
    """A model in Gemini's list."""
    methods = (
        ["embedContent", "countTextTokens"]
        if "embedding" in name
        else ["generateContent", "countTokens", "batchGenerateContent"]
    )
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "description": "A simulated model",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    }


def openai_models() -> bytes:
    """OpenAI's /v1/models."""
    return pretty({"object": "list", "data": [openai_model(name) for name in MODELS]})


def anthropic_models() -> bytes:
    """Anthropic's /v1/models."""
    return dumps(
        {
            "data": [anthropic_model(name) for name in MODELS],
            "has_more": False,
            "first_id": MODELS[0],
            "last_id": MODELS[-1],
        }
    )


def gemini_models() -> bytes:
    """Gemini's /v1beta/models."""
    return pretty({"models": [gemini_model(name) for name in MODELS]})
