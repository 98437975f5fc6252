-- Vectors of one dimension, compared by one distance.
CREATE TABLE vector_collections (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    distance TEXT DEFAULT 'cosine' NOT NULL,
    embedding_model TEXT,
    index_kind TEXT,
    revision INTEGER DEFAULT 0 NOT NULL,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_vector_collections__user_id_name UNIQUE (user_id, name),
    CONSTRAINT ck_vector_collections__dimension CHECK (dimension BETWEEN 1 AND 16000),
    CONSTRAINT fk_vector_collections__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_vector_collections__name CHECK (length(name) <= 255),
    CONSTRAINT ck_vector_collections__distance CHECK (distance = 'cosine' OR distance = 'l2' OR distance = 'inner_product'),
    CONSTRAINT ck_vector_collections__embedding_model CHECK (embedding_model IS NULL OR length(embedding_model) <= 255),
    CONSTRAINT ck_vector_collections__index_kind CHECK (index_kind IS NULL OR index_kind = 'hnsw' OR index_kind = 'hnsw_binary' OR index_kind = 'ivfflat')
) STRICT;

-- A piece of text and its embedding.
CREATE TABLE vectors (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    collection_id INTEGER,
    conversation_id INTEGER,
    resource_id INTEGER,
    tool_id INTEGER,
    "order" INTEGER DEFAULT 0 NOT NULL,
    external_id TEXT,
    content TEXT DEFAULT '' NOT NULL,
    tags TEXT DEFAULT '[]' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    embedding BLOB,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_vectors__collection_id_external_id UNIQUE (collection_id, external_id),
    CONSTRAINT fk_vectors__collection_id FOREIGN KEY(collection_id) REFERENCES vector_collections (id) ON DELETE CASCADE,
    CONSTRAINT fk_vectors__conversation_id FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE,
    CONSTRAINT fk_vectors__resource_id FOREIGN KEY(resource_id) REFERENCES resources (id) ON DELETE CASCADE,
    CONSTRAINT fk_vectors__tool_id FOREIGN KEY(tool_id) REFERENCES tools (id) ON DELETE SET NULL,
    CONSTRAINT ck_vectors__external_id CHECK (external_id IS NULL OR length(external_id) <= 255),
    CONSTRAINT ck_vectors__tags CHECK (json_valid(tags)),
    CONSTRAINT ck_vectors__metadata CHECK (json_valid(metadata))
) STRICT;

CREATE INDEX ix_vectors__collection_id ON vectors (collection_id) WHERE collection_id IS NOT NULL;

CREATE INDEX ix_vectors__collection_id_tags ON vectors (collection_id, tags);

CREATE INDEX ix_vectors__conversation_id ON vectors (conversation_id) WHERE conversation_id IS NOT NULL;

CREATE INDEX ix_vectors__resource_id_order ON vectors (resource_id, "order");

CREATE INDEX ix_vectors__tool_id ON vectors (tool_id) WHERE tool_id IS NOT NULL;

CREATE TRIGGER tr_vectors__fits_insert BEFORE INSERT ON vectors WHEN length(NEW.embedding) <> 4 * (SELECT dimension FROM vector_collections WHERE id = NEW.collection_id) BEGIN SELECT RAISE(ABORT, 'constraint failed: ck_vectors__embedding'); END;

CREATE TRIGGER tr_vectors__fits_update BEFORE UPDATE OF collection_id, embedding ON vectors WHEN length(NEW.embedding) <> 4 * (SELECT dimension FROM vector_collections WHERE id = NEW.collection_id) BEGIN SELECT RAISE(ABORT, 'constraint failed: ck_vectors__embedding'); END;

CREATE TRIGGER tr_vectors__count_insert AFTER INSERT ON vectors WHEN NEW.id < (SELECT max(id) FROM vectors WHERE collection_id = NEW.collection_id) BEGIN UPDATE vector_collections SET revision = revision + 1 WHERE id = NEW.collection_id; END;

CREATE TRIGGER tr_vectors__count_update AFTER UPDATE OF id, collection_id, embedding ON vectors BEGIN UPDATE vector_collections SET revision = revision + 1 WHERE id IN (OLD.collection_id, NEW.collection_id); END;

CREATE TRIGGER tr_vectors__count_delete AFTER DELETE ON vectors WHEN OLD.collection_id IS NOT NULL BEGIN UPDATE vector_collections SET revision = revision + 1 WHERE id = OLD.collection_id; END;

-- Something an agent remembers, of everybody or of one user.
CREATE TABLE memories (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    agent_id INTEGER NOT NULL,
    user_id INTEGER,
    kind TEXT DEFAULT '' NOT NULL,
    content TEXT NOT NULL,
    embedding BLOB,
    embedding_model TEXT,
    embedding_version TEXT,
    tags TEXT DEFAULT '[]' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    provenance TEXT DEFAULT '{}' NOT NULL,
    expires_at TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT fk_memories__agent_id FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT fk_memories__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_memories__kind CHECK (length(kind) <= 255),
    CONSTRAINT ck_memories__embedding_model CHECK (embedding_model IS NULL OR length(embedding_model) <= 255),
    CONSTRAINT ck_memories__embedding_version CHECK (embedding_version IS NULL OR length(embedding_version) <= 255),
    CONSTRAINT ck_memories__tags CHECK (json_valid(tags)),
    CONSTRAINT ck_memories__metadata CHECK (json_valid(metadata)),
    CONSTRAINT ck_memories__provenance CHECK (json_valid(provenance))
) STRICT;

CREATE INDEX ix_memories__agent_id_created_at_id ON memories (agent_id, created_at DESC, id DESC);

CREATE INDEX ix_memories__expires_at ON memories (expires_at);

CREATE INDEX ix_memories__user_id ON memories (user_id) WHERE user_id IS NOT NULL;

CREATE VIEW memories_text AS SELECT id, substr(content, 1, 200000) AS words FROM memories;

CREATE VIRTUAL TABLE memories_words USING fts5(words, content='memories_text', content_rowid='id', detail='none', columnsize=0, tokenize='unicode61 remove_diacritics 0 categories ''L* M* N* Co''');

CREATE TRIGGER tr_memories__words_insert AFTER INSERT ON memories BEGIN INSERT INTO memories_words (rowid, words) VALUES (NEW.id, substr(NEW.content, 1, 200000)); END;

CREATE TRIGGER tr_memories__words_delete AFTER DELETE ON memories BEGIN INSERT INTO memories_words (memories_words, rowid, words) VALUES ('delete', OLD.id, substr(OLD.content, 1, 200000)); END;

CREATE TRIGGER tr_memories__words_update AFTER UPDATE OF id, content ON memories WHEN NEW.id <> OLD.id OR substr(NEW.content, 1, 200000) <> substr(OLD.content, 1, 200000) BEGIN INSERT INTO memories_words (memories_words, rowid, words) VALUES ('delete', OLD.id, substr(OLD.content, 1, 200000)); INSERT INTO memories_words (rowid, words) VALUES (NEW.id, substr(NEW.content, 1, 200000)); END;

-- A document, or one of its chunks.
CREATE TABLE knowledge_base (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    content_type TEXT,
    source TEXT,
    tags TEXT DEFAULT '[]' NOT NULL,
    metadata TEXT DEFAULT '{}' NOT NULL,
    embedding BLOB,
    embedding_model TEXT,
    embedding_version TEXT,
    chunk_index INTEGER DEFAULT 0 NOT NULL,
    total_chunks INTEGER DEFAULT 1 NOT NULL,
    parent_document_id INTEGER,
    processing_status TEXT DEFAULT 'pending' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    error TEXT,
    available_at TEXT,
    claimed_by TEXT,
    lease_expires_at TEXT,
    s3_key TEXT,
    s3_bucket TEXT,
    file_size INTEGER,
    content_hash TEXT,
    created_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    updated_at TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')) NOT NULL,
    CONSTRAINT uq_knowledge_base__parent_document_id_chunk_index UNIQUE (parent_document_id, chunk_index),
    CONSTRAINT uq_knowledge_base__uuid UNIQUE (uuid),
    CONSTRAINT ck_knowledge_base__uuid CHECK (length(uuid) = 36),
    CONSTRAINT fk_knowledge_base__user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_knowledge_base__content_type CHECK (content_type IS NULL OR length(content_type) <= 255),
    CONSTRAINT ck_knowledge_base__tags CHECK (json_valid(tags)),
    CONSTRAINT ck_knowledge_base__metadata CHECK (json_valid(metadata)),
    CONSTRAINT ck_knowledge_base__embedding CHECK (embedding IS NULL OR length(embedding) = 6144),
    CONSTRAINT ck_knowledge_base__embedding_model CHECK (embedding_model IS NULL OR length(embedding_model) <= 255),
    CONSTRAINT ck_knowledge_base__embedding_version CHECK (embedding_version IS NULL OR length(embedding_version) <= 255),
    CONSTRAINT fk_knowledge_base__parent_document_id FOREIGN KEY(parent_document_id) REFERENCES knowledge_base (id) ON DELETE CASCADE,
    CONSTRAINT ck_knowledge_base__processing_status CHECK (processing_status = 'pending' OR processing_status = 'processing' OR processing_status = 'completed' OR processing_status = 'failed'),
    CONSTRAINT ck_knowledge_base__claimed_by CHECK (claimed_by IS NULL OR length(claimed_by) <= 255),
    CONSTRAINT ck_knowledge_base__content_hash CHECK (content_hash IS NULL OR length(content_hash) <= 64)
) STRICT;

CREATE INDEX ix_knowledge_base__leases ON knowledge_base (lease_expires_at) WHERE processing_status = 'processing';

CREATE INDEX ix_knowledge_base__user_id_created_at_id ON knowledge_base (user_id, created_at DESC, id DESC);

CREATE INDEX ix_knowledge_base__waiting ON knowledge_base (available_at, id) WHERE processing_status = 'pending';

CREATE VIEW knowledge_base_text AS SELECT id, substr(title || ' ' || content, 1, 200000) AS words FROM knowledge_base;

CREATE VIRTUAL TABLE knowledge_base_words USING fts5(words, content='knowledge_base_text', content_rowid='id', detail='none', columnsize=0, tokenize='unicode61 remove_diacritics 0 categories ''L* M* N* Co''');

CREATE TRIGGER tr_knowledge_base__words_insert AFTER INSERT ON knowledge_base BEGIN INSERT INTO knowledge_base_words (rowid, words) VALUES (NEW.id, substr(NEW.title || ' ' || NEW.content, 1, 200000)); END;

CREATE TRIGGER tr_knowledge_base__words_delete AFTER DELETE ON knowledge_base BEGIN INSERT INTO knowledge_base_words (knowledge_base_words, rowid, words) VALUES ('delete', OLD.id, substr(OLD.title || ' ' || OLD.content, 1, 200000)); END;

CREATE TRIGGER tr_knowledge_base__words_update AFTER UPDATE OF id, title, content ON knowledge_base WHEN NEW.id <> OLD.id OR substr(NEW.title || ' ' || NEW.content, 1, 200000) <> substr(OLD.title || ' ' || OLD.content, 1, 200000) BEGIN INSERT INTO knowledge_base_words (knowledge_base_words, rowid, words) VALUES ('delete', OLD.id, substr(OLD.title || ' ' || OLD.content, 1, 200000)); INSERT INTO knowledge_base_words (rowid, words) VALUES (NEW.id, substr(NEW.title || ' ' || NEW.content, 1, 200000)); END;
