"""The function that vectors need on PostgreSQL: the check that each is as long as its collection's dimension."""

from __future__ import annotations

from typing import Final

FITTING: Final = "ck_vectors__embedding"
"""What a vector of another length breaks, on both databases."""

# 23514 is check_violation: a CHECK itself cannot ask another table.
FITS: Final = f"""
CREATE OR REPLACE FUNCTION agentdb_vector_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF vector_dims(NEW.embedding) <> (SELECT dimension FROM vector_collections WHERE id = NEW.collection_id) THEN
        RAISE EXCEPTION 'a vector is as long as its collection says'
            USING ERRCODE = '23514', TABLE = TG_TABLE_NAME, CONSTRAINT = '{FITTING}';
    END IF;
    RETURN NEW;
END
$$
""".strip()
