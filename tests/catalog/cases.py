"""A catalog that uses every field, and helpers to apply it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping

from apipod_proxy.catalog.apply import Report, apply
from apipod_proxy.catalog.document import Document, read_document
from apipod_proxy.catalog.loader import load
from apipod_proxy.catalog.model import Snapshot
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.store import Store

ENVIRONMENT: Mapping[str, str] = {
    "OPENAI_API_KEY": "sk-openai",
    "KEY_A": "key-a",
    "KEY_B": "key-b",
    "ALICE_KEY": "alice-own-key-0123456789",
    "POOL_URL": "http://127.0.0.1:8080",
    "RPM": "60",
}
TYPES = {
    "openai": "https://api.openai.com/v1",
    "antigravity": "http://127.0.0.1:8080",
    "openai_compatible": "",
}
NOW = 1_800_000_000_000

FULL = """
limits: {concurrency: 5000}
providers:
  openai:
    type: openai
    base_url: https://api.openai.com/v1/
    api_key: ${OPENAI_API_KEY}
    timeouts: {connect: 2.5, first_byte: 60, idle: 30}
    retries: {attempts: 2, base: 0.25, max: 4}
    breaker: {failures: 3, open: 10}
    pool: {max_connections: 200, keepalive: 15}
    headers: {x-team: ai, x-price: "$${literal}"}
    options: {organization: acme}
    limits: {rpm: {limit: 600, burst: 50}}
  pool:
    type: antigravity
    base_url: ${POOL_URL}
    accounts:
      - {name: a, api_key: "${KEY_A}", weight: 2, limits: {concurrency: 8}}
      - {name: b, api_key: plain-b, weight: 0.5, active: false}
models:
  claude-sonnet-4-5: {provider: pool, upstream_model: claude-4-5-upstream, limits: {rpm: 60, tpm: 1_000_000, rpd: 5000}}
  gemini-3-flash: {provider: pool, limits: {rpm: 600}, capabilities: [tools, vision], context_window: 1000000, max_output: 65536}
  gpt-4o: {provider: openai, price: {input: 2.5, cached_input: 1.25, output: 10}}
  org/odd:model: {provider: openai, active: false}
subscriptions:
  pro:
    limits: {rpm: 5000}
    user_limits: {rpm: 120}
    routes:
      cursor-pro-sonnet:
        strategy: weighted
        targets: [{model: claude-sonnet-4-5, weight: 20}, {model: gemini-3-flash, weight: 80, priority: 1}]
      gpt-4o: {strategy: latency, max_wait: 5, hedge: true, targets: [{model: gpt-4o}]}
      openai/*: {targets: [{provider: openai}]}
      "*": {}
  free: {}
users:
  alice:
    subscription: pro
    role: admin
    limits: {rpd: 2000}
    keys:
      - {key: "${ALICE_KEY}", name: laptop, expires_at: 2027-01-01, allowed_models: [gpt-4o], limits: {rpm: 30}}
      - {sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, prefix: test, allowed_providers: [openai]}
  bob: {subscription: free, active: false, expires_at: "2030-05-06T07:08:09.010+02:00"}
"""


def make_vault(environment: Mapping[str, str] = ENVIRONMENT, key: bytes = b"k" * 32) -> Vault:
    return Vault(key, environment, os.urandom)


def read(text: str, vault: Vault | None = None, types: Mapping[str, str] | None = TYPES) -> Document:
    return read_document(text, "catalog.yaml", vault or make_vault(), types)


async def apply_text(store: Store, text: str, vault: Vault | None = None, digest: str = "") -> Report:
    vault = vault or make_vault()
    numbers = itertools.count()
    prefix = os.urandom(4).hex()
    return await apply(
        store,
        vault,
        read(text, vault),
        new_id=lambda: f"key_{prefix}_{next(numbers)}",
        now_ms=NOW,
        digest=digest,
    )


async def load_now(store: Store, vault: Vault | None = None) -> Snapshot:
    async with store.reading() as session:
        return (await load(session, vault or make_vault())).snapshot
