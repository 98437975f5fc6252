-- A machine that runs agents, or the supervisor.
CREATE TABLE hosts (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    machine_id TEXT,
    restricted INTEGER DEFAULT 0 NOT NULL,
    host_type TEXT DEFAULT 'runner' NOT NULL,
    last_ip TEXT,
    last_version TEXT,
    environment TEXT DEFAULT '{}' NOT NULL,
    last_active TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_hosts__name UNIQUE (name),
    CONSTRAINT uq_hosts__machine_id UNIQUE (machine_id),
    CONSTRAINT ck_hosts__name_characters CHECK (name <> '' AND name NOT GLOB '*[^A-Za-z0-9_-]*'),
    CONSTRAINT ck_hosts__name CHECK (length(name) <= 64),
    CONSTRAINT ck_hosts__machine_id CHECK (machine_id IS NULL OR length(machine_id) <= 255),
    CONSTRAINT ck_hosts__restricted CHECK (restricted IN (0, 1)),
    CONSTRAINT ck_hosts__host_type CHECK (host_type = 'runner' OR host_type = 'supervisor'),
    CONSTRAINT ck_hosts__environment CHECK (json_valid(environment))
) STRICT;

-- A user assigned to a host.
CREATE TABLE user_hosts (
    user_id INTEGER NOT NULL,
    host_id INTEGER NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_user_hosts PRIMARY KEY (user_id, host_id),
    CONSTRAINT fk_user_hosts__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_user_hosts__host_id FOREIGN KEY(host_id) REFERENCES hosts (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ix_user_hosts__host_id_user_id ON user_hosts (host_id, user_id);

-- What is newest for a user, so that watchers ask only for more.
CREATE TABLE user_notifications (
    user_id INTEGER NOT NULL,
    latest_host_id INTEGER,
    latest_log_id INTEGER DEFAULT 0 NOT NULL,
    latest_mail_id INTEGER DEFAULT 0 NOT NULL,
    latest_chat_id INTEGER DEFAULT 0 NOT NULL,
    last_active TEXT,
    tx INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_user_notifications PRIMARY KEY (user_id),
    CONSTRAINT fk_user_notifications__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_user_notifications__latest_host_id FOREIGN KEY(latest_host_id) REFERENCES hosts (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_user_notifications__latest_host_id ON user_notifications (latest_host_id) WHERE latest_host_id IS NOT NULL;

CREATE INDEX ix_user_notifications__tx_user_id ON user_notifications (tx, user_id);

CREATE TRIGGER tr_user_notifications__number AFTER INSERT ON user_notifications WHEN NEW.tx = 0 BEGIN UPDATE user_notifications SET tx = (SELECT 1 + max(coalesce((SELECT max(tx) FROM user_notifications), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'user_notifications.tx'), 0))) WHERE rowid = NEW.rowid; END;

CREATE TRIGGER tr_user_notifications__keep_number AFTER DELETE ON user_notifications WHEN OLD.tx >= (SELECT 1 + max(coalesce((SELECT max(tx) FROM user_notifications), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'user_notifications.tx'), 0))) BEGIN DELETE FROM sqlite_sequence WHERE name = 'user_notifications.tx'; INSERT INTO sqlite_sequence (name, seq) VALUES ('user_notifications.tx', OLD.tx); END;

-- The number of a run, given by its insert.
CREATE TABLE runs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_runs__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ix_runs__user_id ON runs (user_id);

-- A stretch of a run, or of one of its subagents, between two resets of its context.
CREATE TABLE run_session (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    subagent_id INTEGER DEFAULT 0 NOT NULL,
    session_id INTEGER NOT NULL,
    host_id INTEGER,
    last_active TEXT NOT NULL,
    model_name TEXT NOT NULL,
    latest_log_id INTEGER DEFAULT 0 NOT NULL,
    latest_tx INTEGER DEFAULT 0 NOT NULL,
    total_lines INTEGER DEFAULT 0 NOT NULL,
    total_cost INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_run_session__user_id_run_id_subagent_id_session_id UNIQUE (user_id, run_id, subagent_id, session_id),
    CONSTRAINT uq_run_session__run_id_subagent_id_session_id UNIQUE (run_id, subagent_id, session_id),
    CONSTRAINT ck_run_session__subagent_id CHECK (subagent_id <= 0),
    CONSTRAINT fk_run_session__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_run_session__run_id FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE,
    CONSTRAINT fk_run_session__host_id FOREIGN KEY(host_id) REFERENCES hosts (id) ON DELETE SET NULL,
    CONSTRAINT ck_run_session__model_name CHECK (length(model_name) <= 255)
) STRICT;

CREATE INDEX ix_run_session__host_id_run_id_subagent_id_session_id ON run_session (host_id, run_id, subagent_id, session_id);

-- A message, as it was sent.
CREATE TABLE mail_messages (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    from_user_id INTEGER,
    from_username TEXT NOT NULL,
    host_id INTEGER,
    kind TEXT DEFAULT 'mail' NOT NULL,
    participants TEXT NOT NULL,
    participants_digest TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    subject_folded TEXT DEFAULT '' NOT NULL,
    body_folded TEXT DEFAULT '' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_mail_messages__from_user_id FOREIGN KEY(from_user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT ck_mail_messages__from_username CHECK (length(from_username) <= 255),
    CONSTRAINT fk_mail_messages__host_id FOREIGN KEY(host_id) REFERENCES hosts (id) ON DELETE SET NULL,
    CONSTRAINT ck_mail_messages__kind CHECK (kind = 'mail' OR kind = 'chat'),
    CONSTRAINT ck_mail_messages__participants_digest CHECK (length(participants_digest) <= 64)
) STRICT;

CREATE INDEX ix_mail_messages__from_user_id ON mail_messages (from_user_id) WHERE from_user_id IS NOT NULL;

CREATE INDEX ix_mail_messages__host_id ON mail_messages (host_id) WHERE host_id IS NOT NULL;

CREATE INDEX ix_mail_messages__participants_digest_id ON mail_messages (participants_digest, id);

-- A user's own row of a message: as what they are named on it, and whether they have read it and put it away.
CREATE TABLE mail_recipients (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    type TEXT NOT NULL,
    kind TEXT DEFAULT 'mail' NOT NULL,
    participants_digest TEXT NOT NULL,
    own INTEGER DEFAULT 0 NOT NULL,
    read_at TEXT,
    archived_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_mail_recipients__message_id_user_id UNIQUE (message_id, user_id),
    CONSTRAINT fk_mail_recipients__message_id FOREIGN KEY(message_id) REFERENCES mail_messages (id) ON DELETE CASCADE,
    CONSTRAINT fk_mail_recipients__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_mail_recipients__type CHECK (type = 'to' OR type = 'cc' OR type = 'bcc' OR type = 'from'),
    CONSTRAINT ck_mail_recipients__kind CHECK (kind = 'mail' OR kind = 'chat'),
    CONSTRAINT ck_mail_recipients__participants_digest CHECK (length(participants_digest) <= 64),
    CONSTRAINT ck_mail_recipients__own CHECK (own IN (0, 1))
) STRICT;

CREATE INDEX ix_mail_recipients__archived ON mail_recipients (user_id, kind, message_id) WHERE archived_at IS NOT NULL;

CREATE INDEX ix_mail_recipients__conversation ON mail_recipients (user_id, kind, participants_digest, message_id);

CREATE INDEX ix_mail_recipients__current ON mail_recipients (user_id, kind, participants_digest, message_id) WHERE archived_at IS NULL;

CREATE INDEX ix_mail_recipients__received ON mail_recipients (user_id, kind, message_id) WHERE archived_at IS NULL AND type <> 'from';

CREATE INDEX ix_mail_recipients__sent ON mail_recipients (user_id, kind, message_id) WHERE archived_at IS NULL AND own;

CREATE INDEX ix_mail_recipients__unread ON mail_recipients (user_id, kind, message_id) WHERE read_at IS NULL AND archived_at IS NULL AND type <> 'from';

CREATE INDEX ix_mail_recipients__unread_in_conversation ON mail_recipients (user_id, kind, participants_digest) WHERE read_at IS NULL AND archived_at IS NULL AND type <> 'from';

CREATE INDEX ix_mail_recipients__user_id_message_id ON mail_recipients (user_id, message_id);

-- A file kept beside the database.
CREATE TABLE attachments (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    public_id TEXT NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    file_size INTEGER NOT NULL,
    file_hash TEXT NOT NULL,
    purpose TEXT NOT NULL,
    storage_key TEXT NOT NULL,
    uploaded_by INTEGER,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_attachments__public_id UNIQUE (public_id),
    CONSTRAINT ck_attachments__public_id CHECK (length(public_id) <= 22),
    CONSTRAINT ck_attachments__file_hash CHECK (length(file_hash) <= 64),
    CONSTRAINT ck_attachments__purpose CHECK (purpose = 'mail' OR purpose = 'context'),
    CONSTRAINT fk_attachments__uploaded_by FOREIGN KEY(uploaded_by) REFERENCES users (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_attachments__file_hash ON attachments (file_hash);

CREATE INDEX ix_attachments__uploaded_by_id ON attachments (uploaded_by, id);

-- An entry of a run's context.
CREATE TABLE context_log (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run_session_id INTEGER NOT NULL,
    host_id INTEGER,
    role TEXT NOT NULL,
    source TEXT,
    type TEXT,
    message TEXT NOT NULL,
    attachment_id INTEGER,
    tx INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_context_log__run_session_id FOREIGN KEY(run_session_id) REFERENCES run_session (id) ON DELETE CASCADE,
    CONSTRAINT fk_context_log__host_id FOREIGN KEY(host_id) REFERENCES hosts (id) ON DELETE SET NULL,
    CONSTRAINT ck_context_log__role CHECK (role = 'platform' OR role = 'llm'),
    CONSTRAINT ck_context_log__source CHECK (source IS NULL OR source = 'start_prompt' OR source = 'end_prompt' OR source = 'console' OR source = 'llm'),
    CONSTRAINT ck_context_log__type CHECK (type IS NULL OR type = 'comment' OR type = 'error' OR type = 'system' OR type = 'tool'),
    CONSTRAINT fk_context_log__attachment_id FOREIGN KEY(attachment_id) REFERENCES attachments (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_context_log__attachment_id ON context_log (attachment_id) WHERE attachment_id IS NOT NULL;

CREATE INDEX ix_context_log__host_id ON context_log (host_id) WHERE host_id IS NOT NULL;

CREATE INDEX ix_context_log__run_session_id_id ON context_log (run_session_id, id);

CREATE INDEX ix_context_log__tx_id ON context_log (tx, id);

-- A file attached to a message.
CREATE TABLE mail_attachments (
    message_id INTEGER NOT NULL,
    attachment_id INTEGER NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_mail_attachments PRIMARY KEY (message_id, attachment_id),
    CONSTRAINT fk_mail_attachments__message_id FOREIGN KEY(message_id) REFERENCES mail_messages (id) ON DELETE CASCADE,
    CONSTRAINT fk_mail_attachments__attachment_id FOREIGN KEY(attachment_id) REFERENCES attachments (id) ON DELETE RESTRICT
) STRICT;

CREATE INDEX ix_mail_attachments__attachment_id ON mail_attachments (attachment_id);

-- What a user's configuration was until then.
CREATE TABLE config_revisions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    config TEXT NOT NULL,
    changed_by_id INTEGER,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_config_revisions__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_config_revisions__config CHECK (json_valid(config)),
    CONSTRAINT fk_config_revisions__changed_by_id FOREIGN KEY(changed_by_id) REFERENCES users (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_config_revisions__changed_by_id ON config_revisions (changed_by_id) WHERE changed_by_id IS NOT NULL;

CREATE INDEX ix_config_revisions__user_id_id ON config_revisions (user_id, id DESC);

-- A named value for agents' configurations and shells.
CREATE TABLE variables (
    "key" TEXT NOT NULL,
    value TEXT,
    secret BLOB,
    export_to_shell INTEGER DEFAULT 0 NOT NULL,
    sensitive INTEGER DEFAULT 0 NOT NULL,
    created_by INTEGER,
    updated_by INTEGER,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_variables PRIMARY KEY ("key"),
    CONSTRAINT ck_variables__value_or_secret CHECK ((value IS NULL OR secret IS NULL) AND (secret IS NULL OR sensitive)),
    CONSTRAINT ck_variables__key CHECK (length(key) <= 255),
    CONSTRAINT ck_variables__export_to_shell CHECK (export_to_shell IN (0, 1)),
    CONSTRAINT ck_variables__sensitive CHECK (sensitive IN (0, 1)),
    CONSTRAINT fk_variables__created_by FOREIGN KEY(created_by) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT fk_variables__updated_by FOREIGN KEY(updated_by) REFERENCES users (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_variables__created_by ON variables (created_by) WHERE created_by IS NOT NULL;

CREATE INDEX ix_variables__updated_by ON variables (updated_by) WHERE updated_by IS NOT NULL;

-- A row of the one ledger of spending, whoever charged: never changed, removed by retention only.
CREATE TABLE costs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER,
    run_session_id INTEGER,
    host_id INTEGER,
    agent_id INTEGER,
    model_id INTEGER,
    model TEXT NOT NULL,
    message_id INTEGER,
    execution_id INTEGER,
    source TEXT NOT NULL,
    request_id TEXT,
    input_tokens INTEGER DEFAULT 0 NOT NULL,
    output_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_write_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_read_tokens INTEGER DEFAULT 0 NOT NULL,
    unit TEXT,
    quantity INTEGER,
    cost INTEGER DEFAULT 0 NOT NULL,
    corrects_id INTEGER,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_costs__request_id UNIQUE (request_id),
    CONSTRAINT ck_costs__amounts CHECK (corrects_id IS NOT NULL OR (cost >= 0 AND input_tokens >= 0 AND output_tokens >= 0 AND cache_write_tokens >= 0 AND cache_read_tokens >= 0 AND (quantity IS NULL OR quantity >= 0))),
    CONSTRAINT fk_costs__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT fk_costs__run_session_id FOREIGN KEY(run_session_id) REFERENCES run_session (id) ON DELETE SET NULL,
    CONSTRAINT fk_costs__host_id FOREIGN KEY(host_id) REFERENCES hosts (id) ON DELETE SET NULL,
    CONSTRAINT fk_costs__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT fk_costs__model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE SET NULL,
    CONSTRAINT ck_costs__model CHECK (length(model) <= 255),
    CONSTRAINT fk_costs__message_id FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE SET NULL,
    CONSTRAINT fk_costs__execution_id FOREIGN KEY(execution_id) REFERENCES executions (id) ON DELETE SET NULL,
    CONSTRAINT ck_costs__source CHECK (source = 'console' OR source = 'write_protection' OR source = 'compact' OR source = 'lynx' OR source = 'look' OR source = 'listen' OR source = 'genimg' OR source = 'websearch' OR source = 'chat' OR source = 'embedding' OR source = 'execution' OR source = 'other'),
    CONSTRAINT ck_costs__request_id CHECK (request_id IS NULL OR length(request_id) <= 255),
    CONSTRAINT ck_costs__unit CHECK (unit IS NULL OR length(unit) <= 255),
    CONSTRAINT fk_costs__corrects_id FOREIGN KEY(corrects_id) REFERENCES costs (id) ON DELETE RESTRICT
) STRICT;

CREATE INDEX ix_costs__agent_id_created_at ON costs (agent_id, created_at);

CREATE INDEX ix_costs__corrects_id ON costs (corrects_id) WHERE corrects_id IS NOT NULL;

CREATE INDEX ix_costs__created_at ON costs (created_at);

CREATE INDEX ix_costs__execution_id ON costs (execution_id) WHERE execution_id IS NOT NULL;

CREATE INDEX ix_costs__host_id ON costs (host_id) WHERE host_id IS NOT NULL;

CREATE INDEX ix_costs__message_id ON costs (message_id) WHERE message_id IS NOT NULL;

CREATE INDEX ix_costs__model_created_at ON costs (model, created_at);

CREATE INDEX ix_costs__model_id ON costs (model_id) WHERE model_id IS NOT NULL;

CREATE INDEX ix_costs__run_session_id ON costs (run_session_id) WHERE run_session_id IS NOT NULL;

CREATE INDEX ix_costs__user_id_created_at ON costs (user_id, created_at);

CREATE TRIGGER tr_costs__update BEFORE UPDATE ON costs WHEN (NEW.id IS DISTINCT FROM OLD.id OR (NEW.user_id IS NOT NULL AND NEW.user_id IS DISTINCT FROM OLD.user_id) OR (NEW.run_session_id IS NOT NULL AND NEW.run_session_id IS DISTINCT FROM OLD.run_session_id) OR (NEW.host_id IS NOT NULL AND NEW.host_id IS DISTINCT FROM OLD.host_id) OR (NEW.agent_id IS NOT NULL AND NEW.agent_id IS DISTINCT FROM OLD.agent_id) OR (NEW.model_id IS NOT NULL AND NEW.model_id IS DISTINCT FROM OLD.model_id) OR NEW.model IS DISTINCT FROM OLD.model OR (NEW.message_id IS NOT NULL AND NEW.message_id IS DISTINCT FROM OLD.message_id) OR (NEW.execution_id IS NOT NULL AND NEW.execution_id IS DISTINCT FROM OLD.execution_id) OR NEW.source IS DISTINCT FROM OLD.source OR NEW.request_id IS DISTINCT FROM OLD.request_id OR NEW.input_tokens IS DISTINCT FROM OLD.input_tokens OR NEW.output_tokens IS DISTINCT FROM OLD.output_tokens OR NEW.cache_write_tokens IS DISTINCT FROM OLD.cache_write_tokens OR NEW.cache_read_tokens IS DISTINCT FROM OLD.cache_read_tokens OR NEW.unit IS DISTINCT FROM OLD.unit OR NEW.quantity IS DISTINCT FROM OLD.quantity OR NEW.cost IS DISTINCT FROM OLD.cost OR NEW.corrects_id IS DISTINCT FROM OLD.corrects_id OR NEW.created_at IS DISTINCT FROM OLD.created_at) BEGIN SELECT RAISE(ABORT, 'costs is append-only'); END;

CREATE TRIGGER tr_costs__delete BEFORE DELETE ON costs BEGIN SELECT RAISE(ABORT, 'costs is append-only'); END;

-- What may be spent in a window, and what has been.
CREATE TABLE spend_limits (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER,
    covers TEXT DEFAULT 'self' NOT NULL,
    amount INTEGER NOT NULL,
    period TEXT NOT NULL,
    every INTEGER DEFAULT 1 NOT NULL,
    timezone TEXT DEFAULT 'UTC' NOT NULL,
    window_started_at TEXT NOT NULL,
    window_ends_at TEXT,
    spent INTEGER DEFAULT 0 NOT NULL,
    reserved INTEGER DEFAULT 0 NOT NULL,
    suspended_reason TEXT,
    reset_at TEXT,
    exempts_from_installation INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_spend_limits__user_id_covers UNIQUE (user_id, covers),
    CONSTRAINT ck_spend_limits__amount CHECK (amount >= 0),
    CONSTRAINT ck_spend_limits__every CHECK (every >= 1),
    CONSTRAINT ck_spend_limits__installation CHECK (user_id IS NOT NULL OR covers = 'self'),
    CONSTRAINT fk_spend_limits__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_spend_limits__covers CHECK (covers = 'self' OR covers = 'tree'),
    CONSTRAINT ck_spend_limits__period CHECK (period = 'hour' OR period = 'day' OR period = 'week' OR period = 'month' OR period = 'none'),
    CONSTRAINT ck_spend_limits__exempts_from_installation CHECK (exempts_from_installation IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX uq_spend_limits__covers ON spend_limits (covers) WHERE user_id IS NULL;

-- Money set aside for a call whose cost is not known yet.
CREATE TABLE cost_reservations (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER,
    amount INTEGER NOT NULL,
    request_id TEXT,
    expires_at TEXT NOT NULL,
    settled_at TEXT,
    cost_id INTEGER,
    limit_ids TEXT DEFAULT '[]' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_cost_reservations__request_id UNIQUE (request_id),
    CONSTRAINT fk_cost_reservations__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT ck_cost_reservations__request_id CHECK (request_id IS NULL OR length(request_id) <= 255),
    CONSTRAINT ck_cost_reservations__limit_ids CHECK (json_valid(limit_ids))
) STRICT;

CREATE INDEX ix_cost_reservations__open ON cost_reservations (expires_at) WHERE settled_at IS NULL;

CREATE INDEX ix_cost_reservations__user_id ON cost_reservations (user_id) WHERE user_id IS NOT NULL;

-- What retention folded out of the ledger, for one UTC day.
CREATE TABLE cost_days (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    day TEXT NOT NULL,
    user_id INTEGER,
    model TEXT NOT NULL,
    source TEXT NOT NULL,
    agent_id INTEGER,
    calls INTEGER DEFAULT 0 NOT NULL,
    input_tokens INTEGER DEFAULT 0 NOT NULL,
    output_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_write_tokens INTEGER DEFAULT 0 NOT NULL,
    cache_read_tokens INTEGER DEFAULT 0 NOT NULL,
    cost INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_cost_days__day_user_id_model_source_agent_id UNIQUE (day, user_id, model, source, agent_id),
    CONSTRAINT fk_cost_days__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT ck_cost_days__model CHECK (length(model) <= 255),
    CONSTRAINT ck_cost_days__source CHECK (source = 'console' OR source = 'write_protection' OR source = 'compact' OR source = 'lynx' OR source = 'look' OR source = 'listen' OR source = 'genimg' OR source = 'websearch' OR source = 'chat' OR source = 'embedding' OR source = 'execution' OR source = 'other'),
    CONSTRAINT fk_cost_days__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_cost_days__agent_id ON cost_days (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX ix_cost_days__user_id ON cost_days (user_id) WHERE user_id IS NOT NULL;
