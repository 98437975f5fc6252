-- Who serves models, and where.
CREATE TABLE providers (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    name TEXT NOT NULL,
    api_type TEXT,
    endpoint TEXT,
    api_key BLOB,
    api_key_variable TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_providers__name UNIQUE (name),
    CONSTRAINT uq_providers__uuid UNIQUE (uuid),
    CONSTRAINT ck_providers__uuid CHECK (length(uuid) = 36),
    CONSTRAINT ck_providers__name CHECK (length(name) <= 255),
    CONSTRAINT ck_providers__api_type CHECK (api_type IS NULL OR length(api_type) <= 255),
    CONSTRAINT ck_providers__api_key_variable CHECK (api_key_variable IS NULL OR length(api_key_variable) <= 255)
) STRICT;

-- A model, what it can do, and what it costs in dollars per million tokens.
CREATE TABLE models (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "key" TEXT NOT NULL,
    provider_id INTEGER,
    name TEXT NOT NULL,
    version_name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT,
    max_context INTEGER,
    max_output INTEGER,
    max_reasoning INTEGER,
    price_input INTEGER,
    price_output INTEGER,
    price_cache_read INTEGER,
    price_cache_write INTEGER,
    pricing TEXT DEFAULT '{}' NOT NULL,
    capabilities TEXT DEFAULT '{}' NOT NULL,
    default_parameters TEXT DEFAULT '{}' NOT NULL,
    meta TEXT DEFAULT '{}' NOT NULL,
    rate_limit_per_minute INTEGER,
    rate_limit_per_hour INTEGER,
    rate_limit_per_day INTEGER,
    is_active INTEGER DEFAULT 1 NOT NULL,
    is_default INTEGER DEFAULT 0 NOT NULL,
    is_builtin INTEGER DEFAULT 0 NOT NULL,
    is_custom INTEGER DEFAULT 0 NOT NULL,
    shipped TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_models__key UNIQUE ("key"),
    CONSTRAINT ck_models__key CHECK (length(key) <= 255),
    CONSTRAINT fk_models__provider_id FOREIGN KEY(provider_id) REFERENCES providers (id) ON DELETE SET NULL,
    CONSTRAINT ck_models__name CHECK (length(name) <= 255),
    CONSTRAINT ck_models__version_name CHECK (length(version_name) <= 255),
    CONSTRAINT ck_models__type CHECK (type = 'llm' OR type = 'image' OR type = 'embedding' OR type = 'audio' OR type = 'rerank' OR type = 'moderation' OR type = 'other'),
    CONSTRAINT ck_models__pricing CHECK (json_valid(pricing)),
    CONSTRAINT ck_models__capabilities CHECK (json_valid(capabilities)),
    CONSTRAINT ck_models__default_parameters CHECK (json_valid(default_parameters)),
    CONSTRAINT ck_models__meta CHECK (json_valid(meta)),
    CONSTRAINT ck_models__is_active CHECK (is_active IN (0, 1)),
    CONSTRAINT ck_models__is_default CHECK (is_default IN (0, 1)),
    CONSTRAINT ck_models__is_builtin CHECK (is_builtin IN (0, 1)),
    CONSTRAINT ck_models__is_custom CHECK (is_custom IN (0, 1)),
    CONSTRAINT ck_models__shipped CHECK (shipped IS NULL OR json_valid(shipped))
) STRICT;

CREATE INDEX ix_models__provider_id ON models (provider_id) WHERE provider_id IS NOT NULL;

CREATE UNIQUE INDEX uq_models__type ON models (type) WHERE is_default;

-- A version of a prompt.
CREATE TABLE prompts (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    content TEXT NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_prompts__name_version UNIQUE (name, version),
    CONSTRAINT ck_prompts__name CHECK (length(name) <= 255)
) STRICT;

-- Something an agent can call.
CREATE TABLE tools (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    category TEXT,
    type TEXT,
    parameters TEXT DEFAULT '[]' NOT NULL,
    authentication_type TEXT,
    endpoint TEXT,
    transport_type TEXT,
    custom_config TEXT DEFAULT '{}' NOT NULL,
    code TEXT,
    is_builtin INTEGER DEFAULT 0 NOT NULL,
    name_folded TEXT DEFAULT '' NOT NULL,
    description_folded TEXT DEFAULT '' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_tools__name UNIQUE (name),
    CONSTRAINT ck_tools__name CHECK (length(name) <= 255),
    CONSTRAINT ck_tools__category CHECK (category IS NULL OR length(category) <= 255),
    CONSTRAINT ck_tools__type CHECK (type IS NULL OR length(type) <= 255),
    CONSTRAINT ck_tools__parameters CHECK (json_valid(parameters)),
    CONSTRAINT ck_tools__authentication_type CHECK (authentication_type IS NULL OR length(authentication_type) <= 255),
    CONSTRAINT ck_tools__transport_type CHECK (transport_type IS NULL OR length(transport_type) <= 255),
    CONSTRAINT ck_tools__custom_config CHECK (json_valid(custom_config)),
    CONSTRAINT ck_tools__is_builtin CHECK (is_builtin IN (0, 1))
) STRICT;

-- The definition of an agent.
CREATE TABLE agents (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER,
    name TEXT NOT NULL,
    description TEXT,
    system_prompt TEXT,
    prompt_id INTEGER,
    model_id INTEGER,
    model_parameters TEXT DEFAULT '{}' NOT NULL,
    config TEXT DEFAULT '{}' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    is_system INTEGER DEFAULT 0 NOT NULL,
    visible INTEGER DEFAULT 1 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_agents__uuid UNIQUE (uuid),
    CONSTRAINT ck_agents__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_agents__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_agents__name CHECK (length(name) <= 255),
    CONSTRAINT fk_agents__prompt_id FOREIGN KEY(prompt_id) REFERENCES prompts (id) ON DELETE SET NULL,
    CONSTRAINT fk_agents__model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE SET NULL,
    CONSTRAINT ck_agents__model_parameters CHECK (json_valid(model_parameters)),
    CONSTRAINT ck_agents__config CHECK (json_valid(config)),
    CONSTRAINT ck_agents__metadata CHECK (json_valid(metadata)),
    CONSTRAINT ck_agents__is_system CHECK (is_system IN (0, 1)),
    CONSTRAINT ck_agents__visible CHECK (visible IN (0, 1))
) STRICT;

CREATE INDEX ix_agents__model_id ON agents (model_id) WHERE model_id IS NOT NULL;

CREATE INDEX ix_agents__prompt_id ON agents (prompt_id) WHERE prompt_id IS NOT NULL;

CREATE INDEX ix_agents__user_id_id ON agents (user_id, id);

-- An agent that a user may use.
CREATE TABLE user_agents (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    agent_id INTEGER NOT NULL,
    role TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_user_agents__user_id_agent_id UNIQUE (user_id, agent_id),
    CONSTRAINT fk_user_agents__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_user_agents__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT ck_user_agents__role CHECK (role IS NULL OR length(role) <= 255)
) STRICT;

CREATE INDEX ix_user_agents__agent_id ON user_agents (agent_id);

-- A tool that a user may use, and the credential it is used with.
CREATE TABLE user_tools (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    tool_id INTEGER NOT NULL,
    credential BLOB,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_user_tools__user_id_tool_id UNIQUE (user_id, tool_id),
    CONSTRAINT uq_user_tools__uuid UNIQUE (uuid),
    CONSTRAINT ck_user_tools__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_user_tools__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_user_tools__tool_id FOREIGN KEY(tool_id) REFERENCES tools (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ix_user_tools__tool_id ON user_tools (tool_id);

-- A tool that an agent has.
CREATE TABLE agent_tools (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    tool_id INTEGER NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_agent_tools__agent_id_tool_id UNIQUE (agent_id, tool_id),
    CONSTRAINT fk_agent_tools__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_agent_tools__tool_id FOREIGN KEY(tool_id) REFERENCES tools (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ix_agent_tools__tool_id ON agent_tools (tool_id);
