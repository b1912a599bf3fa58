"""Streams an answer with each of the two Python SDKs: pip install openai anthropic

Usage: BASE=http://127.0.0.1:8081 KEY=apk_... MODEL=... python scripts/examples/chat.py
"""

from __future__ import annotations

import os

from anthropic import Anthropic
from openai import OpenAI

BASE = os.environ.get("BASE", "http://127.0.0.1:8081")
KEY = os.environ["KEY"]
MODEL = os.environ.get("MODEL", "sim-8-20")


def with_openai() -> None:
    client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY)
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Say hello."}], stream=True
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


def with_anthropic() -> None:
    client = Anthropic(base_url=BASE, api_key=KEY)
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
    ) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    with_openai()
    with_anthropic()
