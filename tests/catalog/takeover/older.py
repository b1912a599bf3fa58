"""Older apipod databases, made up: the tables as they were, with a few rows each. Both SQLite and PostgreSQL take the statements."""

from __future__ import annotations

import hashlib

FIRST_KEY = "apk_first-generation-key-of-alice"
TOKEN = "sk-second-generation-token-of-bob"
HASHED_KEY = "apipod_third-generation-key-of-acme"

FIRST = f"""
CREATE TABLE users (id INTEGER PRIMARY KEY, api_key TEXT UNIQUE NOT NULL, name TEXT, tier TEXT DEFAULT 'elite',
  active INTEGER DEFAULT 1, created_at DATETIME DEFAULT CURRENT_TIMESTAMP, expires_at DATETIME);
INSERT INTO users (id, api_key, name, tier, active, expires_at) VALUES
  (1, '{FIRST_KEY}', 'alice', 'elite', 1, NULL),
  (2, 'apk_off', 'olga', 'free', 0, NULL),
  (3, 'apk_late', 'alice', 'elite', 1, '2020-01-31 10:00:00.123456 +0000 UTC'),
  (4, 'apk_odd', 'odd', 'elite', 1, 'next week');
"""

SHARED = """
CREATE TABLE subscriptions (sub_id bigint PRIMARY KEY, sub_name varchar(100), price text, monthly_token_limit bigint, system_prompt text);
CREATE TABLE providers (id bigint PRIMARY KEY, name varchar(255), base_url varchar(255), api_key varchar(255),
  is_active boolean DEFAULT true, provider_type varchar(255));
CREATE TABLE llm_models (llm_model_id bigint PRIMARY KEY, model_name varchar(200), provider_id bigint,
  input_cost_per_1m numeric(10,4) DEFAULT 0, output_cost_per_1m numeric(10,4) DEFAULT 0, rpm integer, tpm integer, rpd integer,
  tool_support boolean DEFAULT false, max_context integer);
CREATE TABLE quota_items (quota_id bigint PRIMARY KEY, sub_id bigint, llm_model_id bigint, percentage_weight integer, token_limit bigint);
CREATE TABLE provider_accounts (id bigint PRIMARY KEY, provider_id bigint, email varchar(255), api_key text);
CREATE TABLE users (id bigint PRIMARY KEY, org_id bigint, role varchar(255), name varchar(255), email varchar(255), apitoken varchar(200),
  sub_id bigint, active boolean DEFAULT true, expires_at timestamp);
INSERT INTO subscriptions VALUES (1, 'cursor-pro-sonnet', NULL, 5000, NULL), (2, 'empty', NULL, 0, 'You are.');
INSERT INTO providers VALUES
  (1, 'Pool', '{url}', NULL, true, 'antigravity_proxy'), (2, 'Copilot', 'http://127.0.0.1:8317/', 'cli-key', true, 'cliproxy'),
  (3, 'Openrouter', 'https://openrouter.ai/api', 'or-key', false, 'openai'), (4, 'Own/x', 'https://own.example', 'o', true, 'magic');
INSERT INTO provider_accounts VALUES (1, 1, NULL, 'pool-a'), (2, 1, 'b@example.com', 'pool-b'), (3, 2, 'c@example.com', 'never-used');
INSERT INTO llm_models (llm_model_id, model_name, provider_id, input_cost_per_1m, output_cost_per_1m, rpm, tpm, rpd, max_context) VALUES
  (1, 'claude-sonnet-4-5', 1, 3, 15.5, 60, 100000, 5000, 200000), (2, 'gemini-3-flash', 1, 0, 0, NULL, NULL, NULL, NULL),
  (3, 'gemini-3-flash', 2, 0, 0, 0, NULL, NULL, NULL), (4, 'orphan', NULL, 0, 0, NULL, NULL, NULL, NULL);
INSERT INTO quota_items VALUES (10, 1, 1, 20, NULL), (11, 1, 2, 80, 99), (12, 1, 3, 0, NULL), (13, 2, 4, 50, NULL);
INSERT INTO users (id, name, email, apitoken, sub_id, active, expires_at) VALUES
  (1, 'Bob', 'bob@example.com', '{token}', 1, true, NULL), (2, 'Off', 'off@example.com', 'sk-off', 1, false, NULL),
  (3, 'Late', 'late@example.com', 'sk-late', 1, true, '2020-01-31 10:00:00'), (4, 'None', 'none@example.com', 'sk-none', NULL, true, NULL),
  (5, 'Only', 'only@example.com', NULL, 1, true, NULL);
"""

ORGANIZATIONS = """
CREATE TABLE plans (id bigint PRIMARY KEY, name varchar(255), sub_id bigint, token_quota bigint DEFAULT 0, rate_limit_rpm integer,
  rate_limit_tpm integer, is_byok boolean DEFAULT false, daily_request_cap integer, is_active boolean DEFAULT true);
CREATE TABLE plan_model (plan_id bigint, llm_model_id bigint);
CREATE TABLE organizations (id bigint PRIMARY KEY, name varchar(255), slug varchar(255), plan_id bigint, token_balance bigint,
  is_active boolean DEFAULT true);
CREATE TABLE api_keys (id bigint PRIMARY KEY, org_id bigint, name varchar(255), key_hash varchar(255), key_prefix varchar(12),
  token_limit bigint, used_tokens bigint, is_active boolean DEFAULT true);
INSERT INTO plans VALUES
  (1, 'Pro', 1, 1000000, 90, 50000, false, 2000, true), (2, 'Own keys', 1, 0, NULL, NULL, true, NULL, true),
  (3, 'Prepaid', 1, 0, NULL, NULL, false, NULL, true), (4, 'Nowhere', NULL, 0, NULL, NULL, false, NULL, true);
INSERT INTO plan_model VALUES (1, 1), (1, 2), (1, 3);
INSERT INTO organizations VALUES
  (1, 'Acme', 'acme', 1, 0, true), (2, 'Byok', 'byok', 2, 0, true), (3, 'Paid', 'paid', 3, 5000, true), (4, 'Broke', 'broke', 3, 0, true),
  (5, 'Gone', 'gone', 1, 1, false), (6, 'Planless', 'planless', NULL, 1, true), (7, 'Lost', 'lost', 4, 1, true);
INSERT INTO api_keys VALUES
  (1, 1, 'main', '{hash}', 'apipod_third', NULL, 0, true), (2, 1, 'off', '{off}', 'apipod_off00', 100, 5, false),
  (3, 1, 'spent', '{spent}', 'apipod_spent', 100, 101, true), (4, 3, 'again', '{hash}', 'apipod_third', NULL, 0, true),
  (5, 3, 'odd', 'no hash', 'apipod_odd00', NULL, 0, true);
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def second(url: str = "http://127.0.0.1:8080") -> str:
    """The statements of a second-generation database whose pool is at ``url``."""
    return SHARED.format(url=url, token=TOKEN)


def third(url: str = "http://127.0.0.1:8080") -> str:
    """The same with organizations, plans and hashed keys."""
    return second(url) + ORGANIZATIONS.format(
        hash=sha256(HASHED_KEY).upper(), off=sha256("off"), spent=sha256("spent")
    )
