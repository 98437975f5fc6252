-- The version of this database's schema: one row.
CREATE TABLE schema_version (
    id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    revision TEXT NOT NULL,
    identity TEXT DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT pk_schema_version PRIMARY KEY (id),
    CONSTRAINT ck_schema_version__one_row CHECK (id = 1),
    CONSTRAINT ck_schema_version__revision CHECK (length(revision) <= 255),
    CONSTRAINT ck_schema_version__identity CHECK (length(identity) <= 32)
) STRICT;

-- A name for what a group of users may do.
CREATE TABLE roles (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    display_order INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_roles__name UNIQUE (name),
    CONSTRAINT ck_roles__name CHECK (length(name) <= 255)
) STRICT;

-- An action on a resource that a role may allow.
CREATE TABLE policies (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    resource TEXT NOT NULL,
    action TEXT NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_policies__name UNIQUE (name),
    CONSTRAINT ck_policies__name CHECK (length(name) <= 255),
    CONSTRAINT ck_policies__resource CHECK (length(resource) <= 255),
    CONSTRAINT ck_policies__action CHECK (length(action) <= 255)
) STRICT;

-- A policy that a role has.
CREATE TABLE role_policies (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    role_id INTEGER NOT NULL,
    policy_id INTEGER NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_role_policies__role_id_policy_id UNIQUE (role_id, policy_id),
    CONSTRAINT fk_role_policies__role_id FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE,
    CONSTRAINT fk_role_policies__policy_id FOREIGN KEY(policy_id) REFERENCES policies (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ix_role_policies__policy_id ON role_policies (policy_id);

-- A principal: a person, an agent or a service.
CREATE TABLE users (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    kind TEXT DEFAULT 'human' NOT NULL,
    username TEXT NOT NULL,
    email TEXT,
    email_verified_at TEXT,
    first_name TEXT,
    last_name TEXT,
    title TEXT DEFAULT '' NOT NULL,
    image TEXT,
    status TEXT DEFAULT 'active' NOT NULL,
    role_id INTEGER,
    lead_user_id INTEGER,
    agent_id INTEGER,
    config TEXT DEFAULT '{}' NOT NULL,
    settings TEXT DEFAULT '{}' NOT NULL,
    password_hash TEXT,
    runtime_key_hash TEXT,
    version INTEGER DEFAULT 1 NOT NULL,
    username_folded TEXT DEFAULT '' NOT NULL,
    email_folded TEXT DEFAULT '' NOT NULL,
    title_folded TEXT DEFAULT '' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_users__username UNIQUE (username),
    CONSTRAINT uq_users__email UNIQUE (email),
    CONSTRAINT uq_users__runtime_key_hash UNIQUE (runtime_key_hash),
    CONSTRAINT ck_users__lead_is_another CHECK (lead_user_id <> id),
    CONSTRAINT ck_users__username_characters CHECK (username <> '' AND username NOT GLOB '*[^A-Za-z0-9_-]*'),
    CONSTRAINT uq_users__uuid UNIQUE (uuid),
    CONSTRAINT ck_users__uuid CHECK (length(uuid) = 36),
    CONSTRAINT ck_users__kind CHECK (kind = 'human' OR kind = 'agent' OR kind = 'service'),
    CONSTRAINT ck_users__username CHECK (length(username) <= 64),
    CONSTRAINT ck_users__email CHECK (email IS NULL OR length(email) <= 255),
    CONSTRAINT ck_users__status CHECK (status = 'active' OR status = 'disabled' OR status = 'archived'),
    CONSTRAINT fk_users__role_id FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE SET NULL,
    CONSTRAINT fk_users__lead_user_id FOREIGN KEY(lead_user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT fk_users__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL,
    CONSTRAINT ck_users__config CHECK (json_valid(config)),
    CONSTRAINT ck_users__settings CHECK (json_valid(settings)),
    CONSTRAINT ck_users__runtime_key_hash CHECK (runtime_key_hash IS NULL OR length(runtime_key_hash) <= 64)
) STRICT;

CREATE INDEX ix_users__agent_id ON users (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX ix_users__lead_user_id ON users (lead_user_id) WHERE lead_user_id IS NOT NULL;

CREATE INDEX ix_users__role_id ON users (role_id) WHERE role_id IS NOT NULL;

-- A permission given to one user.
CREATE TABLE user_permissions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    permission TEXT NOT NULL,
    granted_by INTEGER,
    granted_at TEXT NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_user_permissions__user_id_permission UNIQUE (user_id, permission),
    CONSTRAINT fk_user_permissions__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_user_permissions__permission CHECK (length(permission) <= 255),
    CONSTRAINT fk_user_permissions__granted_by FOREIGN KEY(granted_by) REFERENCES users (id) ON DELETE SET NULL
) STRICT;

CREATE INDEX ix_user_permissions__granted_by ON user_permissions (granted_by) WHERE granted_by IS NOT NULL;

CREATE INDEX ix_user_permissions__permission_id ON user_permissions (permission, id);

-- A login.
CREATE TABLE sessions (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    token_hash TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    ip_address TEXT,
    user_agent TEXT,
    data TEXT DEFAULT '{}' NOT NULL,
    last_seen_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_sessions__token_hash UNIQUE (token_hash),
    CONSTRAINT fk_sessions__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_sessions__token_hash CHECK (length(token_hash) <= 64),
    CONSTRAINT ck_sessions__data CHECK (json_valid(data))
) STRICT;

CREATE INDEX ix_sessions__expires_at ON sessions (expires_at);

CREATE INDEX ix_sessions__user_id ON sessions (user_id);

-- A passkey a user signs in with.
CREATE TABLE passkey_credentials (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    credential_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    counter INTEGER DEFAULT 0 NOT NULL,
    transports TEXT DEFAULT '' NOT NULL,
    device_label TEXT DEFAULT '' NOT NULL,
    device_type TEXT,
    backed_up INTEGER DEFAULT 0 NOT NULL,
    aaguid TEXT,
    last_used_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_passkey_credentials__credential_id UNIQUE (credential_id),
    CONSTRAINT fk_passkey_credentials__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_passkey_credentials__credential_id CHECK (length(credential_id) <= 1364),
    CONSTRAINT ck_passkey_credentials__backed_up CHECK (backed_up IN (0, 1))
) STRICT;

CREATE INDEX ix_passkey_credentials__user_id ON passkey_credentials (user_id);

-- A token that lets a user set a password or a passkey, once.
CREATE TABLE registration_tokens (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    token_hash TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_registration_tokens__token_hash UNIQUE (token_hash),
    CONSTRAINT fk_registration_tokens__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_registration_tokens__token_hash CHECK (length(token_hash) <= 64)
) STRICT;

CREATE INDEX ix_registration_tokens__user_id ON registration_tokens (user_id);

-- A key: one that callers present to the platform, or one that the platform presents to a provider.
CREATE TABLE api_keys (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    provider_id INTEGER,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    digest TEXT,
    secret BLOB,
    scopes TEXT DEFAULT '[]' NOT NULL,
    is_active INTEGER DEFAULT 1 NOT NULL,
    is_valid INTEGER DEFAULT 1 NOT NULL,
    usage_count INTEGER DEFAULT 0 NOT NULL,
    last_used_at TEXT,
    expires_at TEXT,
    revoked_at TEXT,
    replaced_at TEXT,
    metadata TEXT DEFAULT '{}' NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_api_keys__digest UNIQUE (digest),
    CONSTRAINT ck_api_keys__digest_or_secret CHECK ((digest IS NOT NULL) = (kind = 'access') AND (secret IS NOT NULL) = (kind = 'provider')),
    CONSTRAINT uq_api_keys__uuid UNIQUE (uuid),
    CONSTRAINT ck_api_keys__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_api_keys__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_api_keys__kind CHECK (kind = 'access' OR kind = 'provider'),
    CONSTRAINT fk_api_keys__provider_id FOREIGN KEY(provider_id) REFERENCES providers (id) ON DELETE CASCADE,
    CONSTRAINT ck_api_keys__name CHECK (length(name) <= 255),
    CONSTRAINT ck_api_keys__prefix CHECK (length(prefix) <= 255),
    CONSTRAINT ck_api_keys__digest CHECK (digest IS NULL OR length(digest) <= 64),
    CONSTRAINT ck_api_keys__scopes CHECK (json_valid(scopes)),
    CONSTRAINT ck_api_keys__is_active CHECK (is_active IN (0, 1)),
    CONSTRAINT ck_api_keys__is_valid CHECK (is_valid IN (0, 1)),
    CONSTRAINT ck_api_keys__metadata CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX ix_api_keys__expires_at ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX ix_api_keys__provider_id ON api_keys (provider_id) WHERE provider_id IS NOT NULL;

CREATE INDEX ix_api_keys__user_id ON api_keys (user_id);

CREATE UNIQUE INDEX uq_api_keys__user_id_name ON api_keys (user_id, name) WHERE kind = 'access' AND revoked_at IS NULL AND replaced_at IS NULL;

CREATE UNIQUE INDEX uq_api_keys__user_id_provider_id_name ON api_keys (user_id, provider_id, name) WHERE kind = 'provider';

-- Who did what to which entity: never changed, never removed.
CREATE TABLE audit_log (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    actor_user_id INTEGER,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    entity TEXT NOT NULL,
    entity_id TEXT,
    detail TEXT DEFAULT '{}' NOT NULL,
    ip_address TEXT,
    correlation_id TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT ck_audit_log__actor_name CHECK (length(actor_name) <= 255),
    CONSTRAINT ck_audit_log__action CHECK (length(action) <= 255),
    CONSTRAINT ck_audit_log__entity CHECK (length(entity) <= 255),
    CONSTRAINT ck_audit_log__entity_id CHECK (entity_id IS NULL OR length(entity_id) <= 255),
    CONSTRAINT ck_audit_log__detail CHECK (json_valid(detail)),
    CONSTRAINT ck_audit_log__correlation_id CHECK (correlation_id IS NULL OR length(correlation_id) <= 255)
) STRICT;

CREATE INDEX ix_audit_log__actor_user_id_id ON audit_log (actor_user_id, id);

CREATE INDEX ix_audit_log__created_at_id ON audit_log (created_at, id);

CREATE INDEX ix_audit_log__entity_entity_id_id ON audit_log (entity, entity_id, id);

CREATE TRIGGER tr_audit_log__update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;

CREATE TRIGGER tr_audit_log__delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
