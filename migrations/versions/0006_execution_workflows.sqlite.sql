-- A graph of steps.
CREATE TABLE workflows (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    status TEXT DEFAULT 'draft' NOT NULL,
    version INTEGER DEFAULT 1 NOT NULL,
    definition TEXT NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_workflows__uuid UNIQUE (uuid),
    CONSTRAINT ck_workflows__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_workflows__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_workflows__name CHECK (length(name) <= 255),
    CONSTRAINT ck_workflows__status CHECK (status = 'draft' OR status = 'active' OR status = 'inactive' OR status = 'archived'),
    CONSTRAINT ck_workflows__definition CHECK (json_valid(definition))
) STRICT;

CREATE INDEX ix_workflows__user_id_id ON workflows (user_id, id);

-- A definition that a workflow had while it was active: what its executions of that version do.
CREATE TABLE workflow_versions (
    workflow_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    definition TEXT NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_workflow_versions PRIMARY KEY (workflow_id, version),
    CONSTRAINT fk_workflow_versions__workflow_id FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE,
    CONSTRAINT ck_workflow_versions__definition CHECK (json_valid(definition))
) STRICT;

CREATE TRIGGER tr_workflow_versions__update BEFORE UPDATE ON workflow_versions BEGIN SELECT RAISE(ABORT, 'workflow_versions is append-only'); END;

-- A workflow to be run, running, or run.
CREATE TABLE executions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    workflow_id INTEGER NOT NULL,
    workflow_version INTEGER DEFAULT 1 NOT NULL,
    user_id INTEGER NOT NULL,
    agent_id INTEGER,
    status TEXT DEFAULT 'pending' NOT NULL,
    input TEXT,
    output TEXT,
    error TEXT,
    metadata TEXT DEFAULT '{}' NOT NULL,
    queue TEXT DEFAULT 'default' NOT NULL,
    priority INTEGER DEFAULT 0 NOT NULL,
    attempt INTEGER DEFAULT 0 NOT NULL,
    max_attempts INTEGER DEFAULT 3 NOT NULL,
    available_at TEXT NOT NULL,
    claimed_by TEXT,
    lease_expires_at TEXT,
    idempotency_key TEXT,
    cancel_requested INTEGER DEFAULT 0 NOT NULL,
    current_node_id TEXT,
    parent_execution_id INTEGER,
    started_at TEXT,
    completed_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_executions__workflow_id_idempotency_key UNIQUE (workflow_id, idempotency_key),
    CONSTRAINT uq_executions__uuid UNIQUE (uuid),
    CONSTRAINT ck_executions__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_executions__workflow_id FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE,
    CONSTRAINT fk_executions__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_executions__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT ck_executions__status CHECK (status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'failed' OR status = 'cancelled'),
    CONSTRAINT ck_executions__input CHECK (input IS NULL OR json_valid(input)),
    CONSTRAINT ck_executions__output CHECK (output IS NULL OR json_valid(output)),
    CONSTRAINT ck_executions__metadata CHECK (json_valid(metadata)),
    CONSTRAINT ck_executions__queue CHECK (length(queue) <= 255),
    CONSTRAINT ck_executions__claimed_by CHECK (claimed_by IS NULL OR length(claimed_by) <= 255),
    CONSTRAINT ck_executions__idempotency_key CHECK (idempotency_key IS NULL OR length(idempotency_key) <= 255),
    CONSTRAINT ck_executions__cancel_requested CHECK (cancel_requested IN (0, 1)),
    CONSTRAINT ck_executions__current_node_id CHECK (current_node_id IS NULL OR length(current_node_id) <= 255),
    CONSTRAINT fk_executions__parent_execution_id FOREIGN KEY(parent_execution_id) REFERENCES executions (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_executions__agent_id ON executions (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX ix_executions__failed ON executions (queue, id) WHERE status = 'failed';

CREATE INDEX ix_executions__finished ON executions (completed_at) WHERE completed_at IS NOT NULL;

CREATE INDEX ix_executions__leased ON executions (lease_expires_at, queue) WHERE status = 'running';

CREATE INDEX ix_executions__parent_execution_id ON executions (parent_execution_id) WHERE parent_execution_id IS NOT NULL;

CREATE INDEX ix_executions__ready ON executions (queue, priority DESC, available_at, id) WHERE status = 'pending';

CREATE INDEX ix_executions__user_id_queue_started_at ON executions (user_id, queue, started_at);

CREATE INDEX ix_executions__waiting ON executions (queue, user_id, priority DESC, available_at, id) WHERE status = 'pending';

CREATE TRIGGER tr_executions__note_insert AFTER INSERT ON executions BEGIN INSERT INTO execution_changes (execution_id, attempt, status, created_at) VALUES (NEW.id, NEW.attempt, NEW.status, NEW.updated_at); END;

CREATE TRIGGER tr_executions__note_update AFTER UPDATE OF status ON executions WHEN (NEW.status <> OLD.status) BEGIN INSERT INTO execution_changes (execution_id, attempt, status, created_at) VALUES (NEW.id, NEW.attempt, NEW.status, NEW.updated_at); END;

-- One attempt at one node of an execution.
CREATE TABLE execution_logs (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    execution_id INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    node_name TEXT NOT NULL,
    attempt INTEGER DEFAULT 1 NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    input TEXT,
    output TEXT,
    error TEXT,
    started_at TEXT,
    completed_at TEXT,
    duration_ms INTEGER,
    tx INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_execution_logs__execution_id_node_id_attempt UNIQUE (execution_id, node_id, attempt),
    CONSTRAINT fk_execution_logs__execution_id FOREIGN KEY(execution_id) REFERENCES executions (id) ON DELETE CASCADE,
    CONSTRAINT ck_execution_logs__node_id CHECK (length(node_id) <= 255),
    CONSTRAINT ck_execution_logs__node_name CHECK (length(node_name) <= 255),
    CONSTRAINT ck_execution_logs__status CHECK (status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'failed' OR status = 'skipped' OR status = 'cancelled'),
    CONSTRAINT ck_execution_logs__input CHECK (input IS NULL OR json_valid(input)),
    CONSTRAINT ck_execution_logs__output CHECK (output IS NULL OR json_valid(output))
) STRICT;

CREATE INDEX ix_execution_logs__execution_id_tx_id ON execution_logs (execution_id, tx, id);

CREATE INDEX ix_execution_logs__tx_id ON execution_logs (tx, id);

CREATE TRIGGER tr_execution_logs__number AFTER INSERT ON execution_logs WHEN NEW.tx = 0 BEGIN UPDATE execution_logs SET tx = (SELECT 1 + max(coalesce((SELECT max(tx) FROM execution_logs), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'execution_logs.tx'), 0))) WHERE rowid = NEW.rowid; END;

CREATE TRIGGER tr_execution_logs__keep_number AFTER DELETE ON execution_logs WHEN OLD.tx >= (SELECT 1 + max(coalesce((SELECT max(tx) FROM execution_logs), 0), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'execution_logs.tx'), 0))) BEGIN DELETE FROM sqlite_sequence WHERE name = 'execution_logs.tx'; INSERT INTO sqlite_sequence (name, seq) VALUES ('execution_logs.tx', OLD.tx); END;

CREATE TRIGGER tr_execution_logs__note_insert AFTER INSERT ON execution_logs BEGIN INSERT INTO execution_changes (execution_id, node_id, attempt, status, created_at) VALUES (NEW.execution_id, NEW.node_id, NEW.attempt, NEW.status, NEW.updated_at); END;

CREATE TRIGGER tr_execution_logs__note_update AFTER UPDATE OF status ON execution_logs BEGIN INSERT INTO execution_changes (execution_id, node_id, attempt, status, created_at) VALUES (NEW.execution_id, NEW.node_id, NEW.attempt, NEW.status, NEW.updated_at); END;

-- A status that an execution or one of its nodes came to: noted by the database within the change itself.
CREATE TABLE execution_changes (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    execution_id INTEGER NOT NULL,
    node_id TEXT,
    attempt INTEGER DEFAULT 0 NOT NULL,
    status TEXT NOT NULL,
    tx INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_execution_changes__execution_id FOREIGN KEY(execution_id) REFERENCES executions (id) ON DELETE CASCADE,
    CONSTRAINT ck_execution_changes__node_id CHECK (node_id IS NULL OR length(node_id) <= 255),
    CONSTRAINT ck_execution_changes__status CHECK (status = 'pending' OR status = 'running' OR status = 'completed' OR status = 'failed' OR status = 'skipped' OR status = 'cancelled')
) STRICT;

CREATE INDEX ix_execution_changes__execution_id_id ON execution_changes (execution_id, id);

CREATE TRIGGER tr_execution_changes__update BEFORE UPDATE ON execution_changes BEGIN SELECT RAISE(ABORT, 'execution_changes is append-only'); END;

-- An agent at work for a user, and all it needs to go on after a pause.
CREATE TABLE agent_sessions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    agent_id INTEGER NOT NULL,
    conversation_id INTEGER,
    status TEXT DEFAULT 'running' NOT NULL,
    context TEXT DEFAULT '{}' NOT NULL,
    checkpoints TEXT DEFAULT '[]' NOT NULL,
    variables TEXT DEFAULT '{}' NOT NULL,
    template_id TEXT,
    template_version TEXT,
    messages_count INTEGER DEFAULT 0 NOT NULL,
    tools_used TEXT DEFAULT '[]' NOT NULL,
    error_logs TEXT DEFAULT '[]' NOT NULL,
    started_at TEXT NOT NULL,
    last_active_at TEXT NOT NULL,
    completed_at TEXT,
    version INTEGER DEFAULT 1 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_agent_sessions__uuid UNIQUE (uuid),
    CONSTRAINT ck_agent_sessions__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_agent_sessions__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_agent_sessions__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_agent_sessions__conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE SET NULL,
    CONSTRAINT ck_agent_sessions__status CHECK (status = 'running' OR status = 'paused' OR status = 'completed' OR status = 'failed'),
    CONSTRAINT ck_agent_sessions__context CHECK (json_valid(context)),
    CONSTRAINT ck_agent_sessions__checkpoints CHECK (json_valid(checkpoints)),
    CONSTRAINT ck_agent_sessions__variables CHECK (json_valid(variables)),
    CONSTRAINT ck_agent_sessions__template_id CHECK (template_id IS NULL OR length(template_id) <= 255),
    CONSTRAINT ck_agent_sessions__template_version CHECK (template_version IS NULL OR length(template_version) <= 255),
    CONSTRAINT ck_agent_sessions__tools_used CHECK (json_valid(tools_used)),
    CONSTRAINT ck_agent_sessions__error_logs CHECK (json_valid(error_logs))
) STRICT;

CREATE INDEX ix_agent_sessions__agent_id ON agent_sessions (agent_id);

CREATE INDEX ix_agent_sessions__conversation_id ON agent_sessions (conversation_id) WHERE conversation_id IS NOT NULL;

CREATE INDEX ix_agent_sessions__live ON agent_sessions (last_active_at, id) WHERE status IN ('running', 'paused');

CREATE INDEX ix_agent_sessions__user_id_last_active_at_id ON agent_sessions (user_id, last_active_at DESC, id DESC);
