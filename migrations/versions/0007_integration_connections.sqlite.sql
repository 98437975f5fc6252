-- A user's account elsewhere.
CREATE TABLE integration_connections (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    provider TEXT NOT NULL,
    account_id TEXT DEFAULT '' NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    access_token BLOB,
    refresh_token BLOB,
    expires_at TEXT,
    token_version INTEGER DEFAULT 0 NOT NULL,
    refresh_turn INTEGER DEFAULT 0 NOT NULL,
    refreshing_until TEXT,
    scopes TEXT DEFAULT '[]' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    connected_at TEXT,
    last_used_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_integration_connections__user_id_provider_account_id UNIQUE (user_id, provider, account_id),
    CONSTRAINT uq_integration_connections__uuid UNIQUE (uuid),
    CONSTRAINT ck_integration_connections__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_integration_connections__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_integration_connections__provider CHECK (length(provider) <= 255),
    CONSTRAINT ck_integration_connections__account_id CHECK (length(account_id) <= 255),
    CONSTRAINT ck_integration_connections__status CHECK (status = 'pending' OR status = 'connected' OR status = 'disconnected' OR status = 'expired' OR status = 'error'),
    CONSTRAINT ck_integration_connections__scopes CHECK (json_valid(scopes)),
    CONSTRAINT ck_integration_connections__metadata CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX ix_integration_connections__due ON integration_connections (expires_at, id) WHERE status = 'connected';

-- What happened on a connection: never changed, goes with the connection or by retention.
CREATE TABLE integration_events (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    integration_id INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    event_data TEXT DEFAULT '{}' NOT NULL,
    tool_name TEXT,
    tool_parameters TEXT,
    tool_result TEXT,
    error_message TEXT,
    error_code TEXT,
    occurred_at TEXT NOT NULL,
    tx INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_integration_events__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_integration_events__integration_id FOREIGN KEY(integration_id) REFERENCES integration_connections (id) ON DELETE CASCADE,
    CONSTRAINT ck_integration_events__event_type CHECK (event_type = 'connected' OR event_type = 'disconnected' OR event_type = 'tool_used' OR event_type = 'error' OR event_type = 'refreshed'),
    CONSTRAINT ck_integration_events__event_data CHECK (json_valid(event_data)),
    CONSTRAINT ck_integration_events__tool_name CHECK (tool_name IS NULL OR length(tool_name) <= 255),
    CONSTRAINT ck_integration_events__tool_parameters CHECK (tool_parameters IS NULL OR json_valid(tool_parameters)),
    CONSTRAINT ck_integration_events__tool_result CHECK (tool_result IS NULL OR json_valid(tool_result)),
    CONSTRAINT ck_integration_events__error_code CHECK (error_code IS NULL OR length(error_code) <= 255)
) STRICT;

CREATE INDEX ix_integration_events__integration_id_occurred_at_id ON integration_events (integration_id, occurred_at DESC, id DESC);

CREATE INDEX ix_integration_events__occurred_at ON integration_events (occurred_at DESC);

CREATE INDEX ix_integration_events__tx_id ON integration_events (tx, id);

CREATE INDEX ix_integration_events__user_id_occurred_at_id ON integration_events (user_id, occurred_at DESC, id DESC);

CREATE TRIGGER tr_integration_events__update BEFORE UPDATE ON integration_events BEGIN SELECT RAISE(ABORT, 'integration_events is append-only'); END;
