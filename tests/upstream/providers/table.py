"""The providers by the name of their type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.upstream.providers.fakes import (
    CHAT,
    GEMINI,
    HELLO,
    MESSAGES,
    PLAIN,
    RESPONSES,
    Fake,
    chat,
    completion,
    counted,
    gemini,
    messages,
    nested,
    part,
    refusal,
    responses,
    sse,
    usage,
)

OPENAI = Fake(
    ("", "/v1"),
    # The newer models refuse max_tokens.
    {CHAT: chat("/v1/chat/completions", PLAIN, None, "max_tokens", developer=True), RESPONSES: responses()},
    nested(401, "Incorrect API key provided: sk-abc.", "invalid_request_error", "invalid_api_key"),
    nested(429, "Rate limit reached for requests", "requests", "rate_limit_exceeded", retry_after="7"),
    nested(400, "Invalid 'messages[0]'.", "invalid_request_error", "invalid_value"),
)

ANTHROPIC = Fake(
    ("", "/v1"),
    {MESSAGES: messages(pad="        ")},
    refusal(
        401,
        {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        "invalid x-api-key",
    ),
    refusal(
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Too many input tokens"}},
        "Too many input tokens",
        retry_after="7",
    ),
    refusal(
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}},
        "prompt is too long",
    ),
    auth=("x-api-key", ""),
    needs=("anthropic-version",),
)


def google(status: int, words: str, name: str, detail: dict[str, str]) -> dict[str, object]:
    return {"error": {"code": status, "message": words, "status": name, "details": [detail]}}


RPC = "type.googleapis.com/google.rpc"

GOOGLE = Fake(
    ("", "/v1beta"),
    {GEMINI: gemini()},
    # A bad key is no 401 there.
    refusal(
        400,
        google(
            400,
            "API key not valid. Please pass a valid API key.",
            "INVALID_ARGUMENT",
            {"@type": f"{RPC}.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
        "API key not valid",
    ),
    # Nor is there a retry-after header.
    refusal(
        429,
        google(
            429,
            "You exceeded your quota.",
            "RESOURCE_EXHAUSTED",
            {"@type": f"{RPC}.RetryInfo", "retryDelay": "7s"},
        ),
        "You exceeded your quota",
    ),
    refusal(400, google(400, "Unable to process input", "INVALID_ARGUMENT", {}), "Unable to process input"),
    auth=("x-goog-api-key", ""),
)

ANTIGRAVITY = replace(
    ANTHROPIC, voices={MESSAGES: messages(), CHAT: chat("/v1/chat/completions", PLAIN, None)}
)

AZURE_FILTER = part(more={"choices": [], "id": "", "model": "", "created": 0, "prompt_filter_results": []})

AZURE = replace(
    OPENAI,
    bases=("", "/openai/v1"),
    voices={
        CHAT: chat(
            "/openai/v1/chat/completions",
            sse(AZURE_FILTER, *HELLO, part("stop"), counted()),
            None,
            "max_tokens",
            developer=True,
        ),
        RESPONSES: responses("/openai/v1/responses"),
    },
    bad_key=refusal(
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}},
        "Access denied",
    ),
    auth=("api-key", ""),
)

NVIDIA = Fake(
    ("", "/v1"),
    {CHAT: chat("/v1/chat/completions", PLAIN, None, "max_completion_tokens")},
    refusal(
        403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}, "Authorization failed"
    ),
    refusal(429, {"status": 429, "title": "Too Many Requests"}, "Too Many Requests", retry_after="7"),
    refusal(400, {"detail": "Input is too long"}, "Input is too long"),
)

OPENROUTER = Fake(
    ("/api", "/api/v1"),
    {
        CHAT: chat(
            "/api/v1/chat/completions",
            sse(
                "OPENROUTER PROCESSING",
                "OPENROUTER PROCESSING",
                *HELLO,
                part("stop", content=""),
                part("stop", content="", more={"usage": usage(cost=0.1, is_byok=False)}),
            ),
            completion(reasoning=None),
            developer=True,
        ),
        MESSAGES: messages("/api/v1/messages"),
        RESPONSES: responses("/api/v1/responses", names=False),
    },
    refusal(401, {"error": {"message": "User not found.", "code": 401}}, "User not found."),
    refusal(
        429,
        {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "rate-limited"}}},
        "Provider returned error",
        retry_after="7",
    ),
    refusal(
        400,
        {"error": {"message": "This endpoint's maximum context length is 200000 tokens.", "code": 400}},
        "maximum context length",
    ),
)

GROQ = Fake(
    ("/openai", "/openai/v1"),
    {
        CHAT: chat(
            "/openai/v1/chat/completions",
            sse(
                *HELLO,
                part("stop", more={"x_groq": {"id": "req_1", "usage": usage()}, "usage": usage()}),
            ),
            None,
            *("logprobs", "top_logprobs", "logit_bias", "store"),
            developer=True,
        ),
        RESPONSES: responses("/openai/v1/responses"),
    },
    nested(401, "Invalid API Key", "invalid_request_error", "invalid_api_key"),
    nested(429, "Rate limit reached", "tokens", "rate_limit_exceeded", retry_after="7"),
    nested(400, "Tool call validation failed", "invalid_request_error", "tool_use_failed"),
)

DEEPSEEK = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                "keep-alive",
                part(role="assistant", content=None, reasoning_content=""),
                part(content=None, reasoning_content="Hm"),
                part(content="Hello", reasoning_content=None),
                part("stop", content="", more={"usage": usage(prompt_cache_hit_tokens=0)}),
            ),
            completion(reasoning_content="Hm"),
            "max_completion_tokens",
        ),
        MESSAGES: messages("/anthropic/v1/messages"),
        RESPONSES: responses(),
    },
    nested(
        401,
        "Authentication Fails, Your api key: ****-bad is invalid",
        "authentication_error",
        "invalid_request_error",
    ),
    nested(429, "Rate limit reached", "rate_limit_error", retry_after="7"),
    nested(400, "This model's maximum context length is 131072 tokens", "invalid_request_error"),
)


def mistral(status: int, words: str, kind: str, code: str | None = None, **headers: str) -> dict[str, object]:
    return {"object": "error", "message": words, "type": kind, "param": None, "code": code}


MISTRAL = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                part(role="assistant", content=""),
                part(
                    content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}],
                    more={"p": "abcd"},
                ),
                part(content="Hello"),
                part("stop", content="", more={"usage": usage()}),
            ),
            None,
            *("max_completion_tokens", "stream_options", "logprobs", "store", "user", "logit_bias"),
        )
    },
    refusal(401, {"detail": "Invalid API Key"}, "Invalid API Key"),
    refusal(
        429,
        mistral(429, "Rate limit exceeded", "rate_limited", "1300"),
        "Rate limit exceeded",
        retry_after="7",
    ),
    refusal(
        400, mistral(400, "Expected last role User or Tool", "invalid_request_error"), "Expected last role"
    ),
)

XAI = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                part(role="assistant", reasoning_content="Hm"),
                part(content="Hello"),
                part("stop"),
                counted(num_sources_used=0),
            ),
            completion(reasoning_content="Hm", refusal=None),
            "presence_penalty",
            developer=True,
        ),
        RESPONSES: responses(),
    },
    # A bad key is no 401 there, and "error" is a text.
    refusal(
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***ad."},
        "Incorrect API key",
    ),
    refusal(
        429, {"code": "Some resource has been exhausted", "error": "Too many"}, "Too many", retry_after="7"
    ),
    refusal(
        400,
        {"code": "Client specified an invalid argument", "error": "Argument not supported: stop"},
        "Argument not supported",
    ),
)

TOGETHER = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                part(role="assistant", content="Hel", more={"usage": None}),
                part(role="assistant", content="lo", token_id=1, more={"usage": None}),
                part("stop", role="assistant", content="", more={"usage": usage()}),
            ),
            None,
            "max_completion_tokens",
        )
    },
    nested(401, "Invalid API key provided", "invalid_request_error", "invalid_api_key"),
    nested(429, "Request was rejected due to rate limiting", "rate_limit", retry_after="7"),
    nested(400, "Input validation error", "invalid_request_error"),
)

HUGGINGFACE = Fake(
    ("", "/v1"),
    # Some of the providers behind it send no [DONE].
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(*HELLO, part("stop"), counted(), done=False),
            None,
            "max_completion_tokens",
        ),
        RESPONSES: responses(),
    },
    refusal(401, {"error": "Invalid username or password."}, "Invalid username"),
    refusal(429, {"error": "Too Many Requests"}, "Too Many Requests", retry_after="7"),
    refusal(400, {"error": {"message": "The model is not a chat model", "type": "x"}}, "not a chat model"),
)


def cloudflare(code: int, words: str) -> dict[str, object]:
    return {"result": None, "success": False, "errors": [{"code": code, "message": words}], "messages": []}


CLOUDFLARE = Fake(
    ("/client/v4/accounts/a1/ai", "/client/v4/accounts/{account_id}/ai/v1"),
    {
        CHAT: chat(
            "/client/v4/accounts/a1/ai/v1/chat/completions",
            # The role is never sent.
            sse(part(content="Hel"), part(content="lo"), part("stop", more={"usage": usage()})),
            None,
            "max_completion_tokens",
        )
    },
    refusal(401, cloudflare(10000, "Authentication error"), "Authentication error"),
    refusal(429, cloudflare(3036, "Daily allocation used up"), "Daily allocation", retry_after="7"),
    refusal(400, cloudflare(5006, "AiError: Bad input"), "AiError: Bad input"),
    options={"account_id": "a1"},
)

OLLAMA = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                part(role="assistant", content="", reasoning="Hm"),
                part(role="assistant", content="Hello"),
                part("stop", role="assistant", content=""),
                counted(),
            ),
            completion(reasoning="Hm"),
            "max_completion_tokens",
        ),
        MESSAGES: messages(),
        RESPONSES: responses(),
    },
    refusal(401, {"error": "unauthorized"}, "unauthorized"),
    refusal(429, {"error": "too many requests"}, "too many requests", retry_after="7"),
    refusal(400, {"error": "prompt too long"}, "prompt too long"),
)

VLLM = Fake(
    ("", "/v1"),
    {
        CHAT: chat(
            "/v1/chat/completions",
            sse(
                part(role="assistant", content=""),
                part(reasoning="Hm"),
                part(content="Hello"),
                part("stop"),
                counted(),
            ),
            completion(reasoning="Hm", tool_calls=[]),
        ),
        RESPONSES: responses(),
    },
    refusal(401, {"error": "Unauthorized"}, "Unauthorized"),
    refusal(
        429, {"object": "error", "message": "Overloaded", "type": "x", "code": 429}, "Over", retry_after="7"
    ),
    # The code is a number, and older versions put it all at the top.
    refusal(
        400,
        {"object": "error", "message": "maximum context length", "type": "BadRequestError", "code": 400},
        "maximum context length",
    ),
)

COMPATIBLE = replace(
    OPENAI, voices={CHAT: chat("/v1/chat/completions", PLAIN, None, "max_completion_tokens")}
)

SIMULATOR = replace(
    OPENAI,
    voices={
        CHAT: chat(developer=True),
        MESSAGES: messages(),
        GEMINI: gemini(),
        RESPONSES: responses(),
    },
    auth=None,
)

FAKES: Mapping[str, Fake] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "google_ai_studio": GOOGLE,
    "antigravity": ANTIGRAVITY,
    "nvidia_nim": NVIDIA,
    "openrouter": OPENROUTER,
    "groq": GROQ,
    "deepseek": DEEPSEEK,
    "mistral": MISTRAL,
    "xai": XAI,
    "together": TOGETHER,
    "huggingface": HUGGINGFACE,
    "cloudflare": CLOUDFLARE,
    "ollama": OLLAMA,
    "vllm": VLLM,
    "azure_openai": AZURE,
    "openai_compatible": COMPATIBLE,
    "simulator": SIMULATOR,
}
