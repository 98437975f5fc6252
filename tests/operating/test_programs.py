"""PostgreSQL's own programs: which ones are taken, and how they are told the password."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from sqlalchemy import text

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.engine.postgresql.programs import NEEDED, programs
from agentdb.errors import BadSettings
from agentdb.operating.backups import backup
from agentdb.operating.restoring import restore
from agentdb.testing.factories import make_user

PASSWORD = "hunter2-of-the-backups"


async def test_programs_older_than_the_server_are_refused() -> None:
    with pytest.raises(BadSettings, match=r"of PostgreSQL 99 or newer .* too old"):
        await programs(99)


@pytest.mark.long
async def test_the_password_is_in_the_environment_and_never_on_a_command_line(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, settings = tmp_path / "bin", Settings.load(postgresql_url, folder=tmp_path / "data")
    async with Database(settings) as db, db.read() as unit:
        number = await unit.session.scalar(text("SHOW server_version_num"))
    real = await programs(int(number) // 10_000)
    listening.mkdir()
    for name in NEEDED:
        program = listening / name
        log = tmp_path / "log"
        program.write_text(f'#!/bin/sh\necho "{name} $@ ($PGPASSWORD)" >> {log}\nexec {real / name} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{listening}{os.pathsep}{os.environ['PATH']}")
    url = re.sub(r"//([^:@/]*)(:[^@]*)?@", rf"//\1:{PASSWORD}@", postgresql_url, count=1)  # which trusts anybody
    settings = Settings.load(url, folder=tmp_path / "data")

    async with Database(settings) as db:
        await make_user(db)
        made = await backup(db, tmp_path / "backups")
    await restore(made.path, settings, force=True)

    said = (tmp_path / "log").read_text().splitlines()
    connecting = [line for line in said if line.endswith(f" ({PASSWORD})")]
    assert {line.split()[0] for line in connecting} == {"pg_dump", "psql"}
    assert [line for line in said if PASSWORD in line.rpartition(" (")[0]] == []
    assert PASSWORD not in (made.path / "manifest.json").read_text()
