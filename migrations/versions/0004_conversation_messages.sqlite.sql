-- A user's exchange with an agent.
CREATE TABLE conversations (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    "key" TEXT,
    user_id INTEGER NOT NULL,
    agent_id INTEGER,
    session_id INTEGER,
    title TEXT DEFAULT '' NOT NULL,
    session_context TEXT DEFAULT '{}' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    summary_message_id INTEGER,
    last_position INTEGER DEFAULT 0 NOT NULL,
    last_message_at TEXT,
    deleted_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_conversations__key UNIQUE ("key"),
    CONSTRAINT uq_conversations__session_id UNIQUE (session_id),
    CONSTRAINT uq_conversations__uuid UNIQUE (uuid),
    CONSTRAINT ck_conversations__uuid CHECK (length(uuid) = 36),
    CONSTRAINT ck_conversations__key CHECK (key IS NULL OR length(key) <= 255),
    CONSTRAINT fk_conversations__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_conversations__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT fk_conversations__session_id FOREIGN KEY(session_id) REFERENCES agent_sessions (id) ON DELETE SET NULL,
    CONSTRAINT ck_conversations__session_context CHECK (json_valid(session_context)),
    CONSTRAINT ck_conversations__metadata CHECK (json_valid(metadata)),
    CONSTRAINT fk_conversations__summary_message_id FOREIGN KEY(summary_message_id) REFERENCES messages (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_conversations__agent_id ON conversations (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX ix_conversations__deleted_at_id ON conversations (deleted_at, id) WHERE deleted_at IS NOT NULL;

CREATE INDEX ix_conversations__summary_message_id ON conversations (summary_message_id) WHERE summary_message_id IS NOT NULL;

CREATE INDEX ix_conversations__user_id_created_at_id ON conversations (user_id, created_at DESC, id DESC);

CREATE INDEX ix_conversations__user_id_deleted_at_id ON conversations (user_id, deleted_at DESC, id DESC) WHERE deleted_at IS NOT NULL;

CREATE INDEX ix_conversations__user_id_last_message_at_id ON conversations (user_id, last_message_at DESC, id DESC) WHERE deleted_at IS NULL AND last_message_at IS NOT NULL;

-- Something said in a conversation.
CREATE TABLE messages (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    parent_id INTEGER,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    name TEXT,
    tool_call_id TEXT,
    metadata TEXT DEFAULT '{}' NOT NULL,
    tokens INTEGER,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_messages__conversation_id_position UNIQUE (conversation_id, position),
    CONSTRAINT fk_messages__conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE,
    CONSTRAINT fk_messages__parent_id FOREIGN KEY(parent_id) REFERENCES messages (id) ON DELETE SET NULL,
    CONSTRAINT ck_messages__role CHECK (role = 'user' OR role = 'assistant' OR role = 'system' OR role = 'developer' OR role = 'tool'),
    CONSTRAINT ck_messages__content CHECK (json_valid(content)),
    CONSTRAINT ck_messages__name CHECK (name IS NULL OR length(name) <= 255),
    CONSTRAINT ck_messages__tool_call_id CHECK (tool_call_id IS NULL OR length(tool_call_id) <= 255),
    CONSTRAINT ck_messages__metadata CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX ix_messages__parent_id_position ON messages (parent_id, position);

-- A file or a text attached to a conversation or a message, or kept by a user.
CREATE TABLE resources (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER,
    conversation_id INTEGER,
    agent_id INTEGER,
    message_id INTEGER,
    name TEXT NOT NULL,
    type TEXT,
    content TEXT,
    s3_uri TEXT,
    metadata TEXT DEFAULT '{}' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_resources__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_resources__conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE,
    CONSTRAINT fk_resources__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT fk_resources__message_id FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE SET NULL,
    CONSTRAINT ck_resources__name CHECK (length(name) <= 255),
    CONSTRAINT ck_resources__type CHECK (type IS NULL OR length(type) <= 255),
    CONSTRAINT ck_resources__metadata CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX ix_resources__agent_id ON resources (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX ix_resources__conversation_id_id ON resources (conversation_id, id);

CREATE INDEX ix_resources__message_id ON resources (message_id) WHERE message_id IS NOT NULL;

CREATE INDEX ix_resources__user_id_id ON resources (user_id, id);
