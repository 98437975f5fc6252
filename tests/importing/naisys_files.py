"""The two files of an installation of NAISYS, as its own migrations make them, with a little of everything in them."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt

from tests.canaries import canary

ADMIN = "11111111-1111-4111-8111-111111111111"
ALICE = "22222222-2222-4222-8222-222222222222"
BOB = "33333333-3333-4333-8333-333333333333"
CAROL = "44444444-4444-4444-8444-444444444444"  # a person
GHOST = "55555555-5555-4555-8555-555555555555"  # an agent the hub has deleted
SECRET = canary("naisys")
FILE = b"a report\n"
FILE_HASH = hashlib.sha256(FILE).hexdigest()
KEY_HASH = hashlib.sha256(b"runtime").hexdigest()
PASSWORD = canary("carol")
BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
ISO = "2026-03-01T10:00:00.123Z"  # as the client writes a moment
PLAIN = "2026-03-01 10:00:00"  # as the database's own default does

_HUB = """
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, username TEXT NOT NULL
  UNIQUE, title TEXT NOT NULL, api_key_hash TEXT UNIQUE, lead_user_id INTEGER REFERENCES users(id), config TEXT
  NOT NULL DEFAULT '{}', created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME NOT NULL,
  enabled BOOLEAN NOT NULL DEFAULT true, archived BOOLEAN NOT NULL DEFAULT false);
CREATE TABLE hosts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, machine_id TEXT UNIQUE,
  restricted BOOLEAN NOT NULL DEFAULT false, host_type TEXT NOT NULL DEFAULT 'naisys', last_ip TEXT,
  last_version TEXT, environment TEXT, last_active DATETIME, created_at DATETIME NOT NULL DEFAULT
  CURRENT_TIMESTAMP);
CREATE TABLE user_notifications (user_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT REFERENCES users(id),
  latest_host_id INTEGER, latest_log_id INTEGER NOT NULL DEFAULT 0, latest_mail_id INTEGER NOT NULL DEFAULT 0,
  latest_chat_id INTEGER NOT NULL DEFAULT 0, last_active DATETIME, cost_suspended_reason TEXT,
  spend_limit_reset_at DATETIME, budget_left DECIMAL, updated_at DATETIME NOT NULL);
CREATE TABLE user_hosts (user_id INTEGER NOT NULL, host_id INTEGER NOT NULL, created_at DATETIME NOT NULL
  DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (user_id, host_id));
CREATE TABLE run_session (user_id INTEGER NOT NULL, run_id INTEGER NOT NULL, subagent_id INTEGER NOT NULL
  DEFAULT 0, session_id INTEGER NOT NULL, host_id INTEGER NOT NULL, last_active DATETIME NOT NULL, model_name
  TEXT NOT NULL, latest_log_id INTEGER NOT NULL DEFAULT 0, total_lines INTEGER NOT NULL DEFAULT 0, total_cost
  REAL NOT NULL DEFAULT 0, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME NOT NULL,
  PRIMARY KEY (user_id, run_id, subagent_id, session_id));
CREATE TABLE context_log (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, run_id INTEGER NOT
  NULL, subagent_id INTEGER NOT NULL DEFAULT 0, session_id INTEGER NOT NULL, host_id INTEGER NOT NULL, role TEXT
  NOT NULL, source TEXT, type TEXT, message TEXT NOT NULL, attachment_id INTEGER, created_at DATETIME NOT NULL
  DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE costs (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, run_id INTEGER NOT NULL,
  subagent_id INTEGER NOT NULL DEFAULT 0, session_id INTEGER NOT NULL, host_id INTEGER NOT NULL, source TEXT NOT
  NULL, model TEXT NOT NULL, cost REAL DEFAULT 0, input_tokens INTEGER DEFAULT 0, output_tokens INTEGER DEFAULT
  0, cache_write_tokens INTEGER DEFAULT 0, cache_read_tokens INTEGER DEFAULT 0, created_at DATETIME NOT NULL
  DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE mail_messages (id INTEGER PRIMARY KEY AUTOINCREMENT, from_user_id INTEGER NOT NULL, host_id
  INTEGER, kind TEXT NOT NULL DEFAULT 'mail', participants TEXT NOT NULL DEFAULT '', subject TEXT NOT NULL, body
  TEXT NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE mail_recipients (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id INTEGER NOT NULL, user_id INTEGER
  NOT NULL, type TEXT NOT NULL, read_at DATETIME, archived_at DATETIME, created_at DATETIME NOT NULL DEFAULT
  CURRENT_TIMESTAMP);
CREATE TABLE mail_attachments (message_id INTEGER NOT NULL, attachment_id INTEGER NOT NULL, created_at DATETIME
  NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (message_id, attachment_id));
CREATE TABLE attachments (id INTEGER PRIMARY KEY AUTOINCREMENT, public_id TEXT UNIQUE, filepath TEXT NOT NULL,
  filename TEXT NOT NULL, file_size INTEGER NOT NULL, file_hash TEXT NOT NULL, purpose TEXT NOT NULL,
  uploaded_by INTEGER NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE config_revisions (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, config TEXT NOT
  NULL, changed_by_id INTEGER NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE variables ("key" TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, export_to_shell BOOLEAN NOT NULL
  DEFAULT false, sensitive BOOLEAN NOT NULL DEFAULT false, created_by TEXT NOT NULL, updated_by TEXT NOT NULL,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME NOT NULL);
CREATE TABLE models (id INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT NOT NULL UNIQUE, type TEXT NOT NULL, label
  TEXT NOT NULL, version_name TEXT NOT NULL, is_builtin BOOLEAN NOT NULL DEFAULT false, is_custom BOOLEAN NOT
  NULL DEFAULT false, meta TEXT NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at
  DATETIME NOT NULL);
CREATE TABLE schema_version (id INTEGER PRIMARY KEY DEFAULT 1, version INTEGER NOT NULL UNIQUE, updated DATETIME
  NOT NULL);
INSERT INTO schema_version VALUES (1, 41, '2026-05-01 00:00:00');
"""

_SUPERVISOR = """
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL
  DEFAULT '' UNIQUE, is_agent BOOLEAN NOT NULL DEFAULT false, password_hash TEXT, created_at DATETIME NOT NULL
  DEFAULT CURRENT_TIMESTAMP, api_key_hash TEXT UNIQUE, updated_at DATETIME NOT NULL);
CREATE TABLE sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, token_hash TEXT NOT NULL
  UNIQUE, expires_at DATETIME NOT NULL, created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE user_permissions (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, permission TEXT
  NOT NULL, granted_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, granted_by INTEGER, UNIQUE (user_id,
  permission));
CREATE TABLE passkey_credentials (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, credential_id
  TEXT NOT NULL UNIQUE, public_key TEXT NOT NULL, counter INTEGER NOT NULL DEFAULT 0, transports TEXT NOT NULL
  DEFAULT '', device_label TEXT NOT NULL DEFAULT '', created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  last_used_at DATETIME);
CREATE TABLE registration_tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, token_hash
  TEXT NOT NULL UNIQUE, expires_at DATETIME NOT NULL, used_at DATETIME, created_at DATETIME NOT NULL DEFAULT
  CURRENT_TIMESTAMP);
"""


def insert(path: Path, table: str, *rows: dict[str, Any]) -> None:
    """Add rows to a file."""
    with closing(sqlite3.connect(path)) as database, database:
        for row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            database.execute(
                f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(row))})', tuple(row.values())
            )


def change(path: Path, statement: str) -> None:
    """Change a file."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def hub_file(folder: Path) -> Path:
    """Make a hub with two agents, one of whom leads the other, on two hosts."""
    path = folder / "database" / "naisys_hub.db"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_HUB)
    stored = folder / "attachments" / "hub" / FILE_HASH[:2] / FILE_HASH[2:4] / FILE_HASH
    stored.parent.mkdir(parents=True)
    stored.write_bytes(FILE)
    at = {"created_at": ISO, "updated_at": ISO}
    insert(
        path,
        "users",
        {"id": 1, "uuid": ALICE, "username": "alice", "title": "Lead", "api_key_hash": KEY_HASH, **at}
        | {"config": '{"username": "alice", "spendLimitDollars": 10, "spendLimitHours": 24}'},
        {"id": 2, "uuid": BOB, "username": "bob", "title": "Écrivain", "lead_user_id": 1, "enabled": 0, **at},
        {"id": 0, "uuid": ADMIN, "username": "admin", "title": "Admin", **at, "created_at": PLAIN},
    )
    insert(
        path,
        "hosts",
        {"id": 3, "name": "box", "machine_id": "machine-1", "environment": '{"platform": "linux"}', "last_active": ISO},
        {"id": 4, "name": "SUPERVISOR", "host_type": "supervisor", "restricted": 0},
    )
    insert(path, "user_hosts", {"user_id": 1, "host_id": 3, "created_at": PLAIN})
    insert(
        path,
        "user_notifications",
        {"user_id": 1, "latest_host_id": 3, "last_active": ISO, "updated_at": ISO, "latest_log_id": 3},
        {"user_id": 2, "updated_at": ISO, "spend_limit_reset_at": ISO},
    )
    session = {"host_id": 3, "last_active": ISO, "model_name": "m-1", "total_lines": 3, "total_cost": 0.3, **at}
    insert(
        path,
        "run_session",
        {"user_id": 1, "run_id": 7, "session_id": 1, **session},
        {"user_id": 1, "run_id": 7, "session_id": 2, **session},
        {"user_id": 1, "run_id": 7, "subagent_id": -1, "session_id": 1, **session},
        {"user_id": 2, "run_id": 7, "session_id": 1, **session},  # two runs were given one number at once
    )
    insert(
        path,
        "attachments",
        {"id": 1, "public_id": "AAAAAAAAAAAAAAAAAAAAAA", "filepath": "/gone/report.txt", "filename": "report.txt"}
        | {"file_size": len(FILE), "file_hash": FILE_HASH, "purpose": "mail", "uploaded_by": 1, "created_at": ISO},
        {"id": 2, "public_id": None, "filepath": "/gone/screen.png", "filename": "screen.png"}
        | {"file_size": 5, "file_hash": "b" * 64, "purpose": "context", "uploaded_by": 1, "created_at": PLAIN},
    )
    entry = {"user_id": 1, "run_id": 7, "session_id": 1, "host_id": 3, "role": "NAISYS"}
    insert(
        path,
        "context_log",
        entry | {"source": "startPrompt", "type": "system", "message": "one\ntwo", "created_at": ISO},
        entry | {"source": "console", "type": "workspace", "message": f"key {SECRET}", "created_at": PLAIN},
        entry | {"role": "LLM", "source": "llm", "message": "three", "attachment_id": 2, "created_at": ISO},
        entry | {"subagent_id": -1, "source": "endPrompt", "message": "below", "created_at": ISO},
    )
    cost = {"user_id": 1, "run_id": 7, "session_id": 1, "host_id": 3, "model": "m-1", "created_at": ISO}
    insert(
        path,
        "costs",
        cost | {"source": "console", "cost": 0.1, "input_tokens": 100, "output_tokens": 20},
        cost | {"source": "websearch", "cost": 0.2, "created_at": PLAIN, "cache_read_tokens": None},
        cost | {"subagent_id": -1, "source": "genimg", "cost": None},
        cost | {"user_id": 2, "source": "astrology", "cost": 1.0000000004},
    )
    message = {"from_user_id": 1, "host_id": 3, "participants": "alice,bob", "created_at": ISO}
    insert(
        path,
        "mail_messages",
        message | {"id": 10, "kind": "mail", "subject": "Report", "body": f"the key is {SECRET}"},
        message | {"id": 11, "kind": "chat", "subject": "", "body": "hi"},
    )
    insert(
        path,
        "mail_recipients",
        {"message_id": 10, "user_id": 2, "type": "to", "created_at": ISO},
        {"message_id": 10, "user_id": 2, "type": "to", "created_at": ISO},  # nothing there refuses it
        {"message_id": 10, "user_id": 1, "type": "from", "read_at": ISO, "created_at": ISO},
        {"message_id": 11, "user_id": 2, "type": "to", "read_at": PLAIN, "archived_at": ISO, "created_at": ISO},
        {"message_id": 11, "user_id": 1, "type": "from", "read_at": ISO, "created_at": ISO},
    )
    insert(path, "mail_attachments", {"message_id": 10, "attachment_id": 1, "created_at": ISO})
    insert(
        path,
        "config_revisions",
        {"user_id": 1, "config": '{"title": "A"}', "changed_by_id": 1, "created_at": PLAIN},
        {"user_id": 1, "config": '{"title": "B"}', "changed_by_id": 2, "created_at": ISO},  # the supervisor's 2: carol
        {"user_id": 2, "config": "not JSON", "changed_by_id": 2, "created_at": ISO},
    )
    by = {"created_by": "hub", "updated_by": CAROL, **at}
    insert(
        path,
        "variables",
        {"key": "OPENAI_API_KEY", "value": SECRET, "sensitive": 1, **by},
        {"key": "EDITOR", "value": "vim", "export_to_shell": 1, **by},
        {"key": "SPEND_LIMIT_DOLLARS", "value": "100", **by},
        {"key": "SPEND_LIMIT_HOURS", "value": "6", **by},
        {"key": "NAISYS_API_KEY", "value": "reserved", **by},
    )
    meta = '{"apiType": "openai", "maxTokens": 1000, "apiKeyVar": "OPENAI_API_KEY", "inputCost": 2.5, "outputCost": 10}'
    insert(
        path,
        "models",
        {"key": "m-1", "type": "llm", "label": "M 1", "version_name": "m-1-2026", "is_custom": 1, "meta": meta, **at},
    )
    return path


def supervisor_file(folder: Path) -> Path:
    """Make a supervisor with a person, the mirror of an agent, and one of an agent that is gone."""
    path = folder / "database" / "supervisor.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_SUPERVISOR)
    at = {"created_at": ISO, "updated_at": ISO}
    insert(
        path,
        "users",
        {"id": 1, "username": "alice-before", "uuid": ALICE, "is_agent": 1, **at},
        {"id": 2, "username": "carol", "uuid": CAROL, "password_hash": BCRYPT, "api_key_hash": "c" * 64, **at},
        {"id": 3, "username": "bob", "uuid": GHOST, "is_agent": 1, **at},  # whose name another agent has by now
    )
    insert(path, "sessions", {"user_id": 2, "token_hash": "d" * 64, "expires_at": ISO, "created_at": ISO})
    insert(
        path,
        "user_permissions",
        {"user_id": 2, "permission": "supervisor_admin", "granted_at": ISO},
        {"user_id": 1, "permission": "view_run_logs", "granted_at": PLAIN, "granted_by": 2},
    )
    insert(
        path,
        "passkey_credentials",
        {"user_id": 2, "credential_id": "cred", "public_key": "pub", "counter": 9, "transports": "usb,nfc"}
        | {"device_label": "laptop", "created_at": ISO, "last_used_at": PLAIN},
    )
    insert(path, "registration_tokens", {"user_id": 2, "token_hash": "e" * 64, "expires_at": ISO, "created_at": PLAIN})
    return path
