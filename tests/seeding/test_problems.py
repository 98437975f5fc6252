"""What is wrong with seed files is said all at once, each with its place, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

import agentdb
from agentdb.database import Database
from agentdb.errors import BadInput
from agentdb.seeding import BadSeed
from tests.seeding.conftest import WriteSeed


async def problems_of(db: Database, folder: Path) -> list[str]:
    with pytest.raises(BadSeed) as refused:
        await db.seed(folder)
    return [str(problem) for problem in refused.value.problems]


async def test_every_problem_of_every_file_is_told_and_nothing_is_loaded(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(
        roles="name,display_order,colour\nreader,many,red\n,2,\nreader,1\nwriter,1\n",
        models=(
            "key,name,version_name,type,price_input,is_active,capabilities,provider\n"
            "a,A,007,llm,cheap,yes,[],brook\n"
            'b,B,b,text,0.0000000001,1,"{x}",null\n'
            "c,C,c,llm,1,true,{},null\n"
        ),
        prompts="name,version,content\nhelp,0x1,file:../secret\n",
        agents="name,prompt\nhelper,help@3\nother,help\n",
    )
    (folder / "colours.csv").write_text("name\nred\n", encoding="utf-8")
    (folder / "agent-tools.csv").write_text("agent,tool\nhelper,fly\nnobody,fly\n", encoding="utf-8")

    told = await problems_of(db, folder)

    places = [problem.split(": ", 1)[0] for problem in told]
    assert places == [
        "agent-tools.csv:2:8",
        "agent-tools.csv:3:1",
        "agent-tools.csv:3:8",
        "agents.csv:2:8",
        "agents.csv:3:7",
        "colours.csv:1:1",
        "models.csv:2:5",
        "models.csv:2:13",
        "models.csv:2:19",
        "models.csv:2:23",
        "models.csv:2:26",
        "models.csv:3:7",
        "models.csv:3:12",
        "models.csv:3:25",
        "models.csv:3:27",
        "prompts.csv:2:10",
        "roles.csv:1:20",
        "roles.csv:2:8",
        "roles.csv:3:1",
        "roles.csv:4:1",
    ]
    assert await db.supervisor.roles.count() == 0
    assert await db.catalog.models.count() == 0


PROBLEMS: list[tuple[str, str, str]] = [
    ("roles", "name,display_order\nreader,7.5\n", "2:8: display_order: a whole number is expected, not a"),
    ("roles", "name,display_order\nreader,99999999999\n", "2:8: display_order: 99999999999 does not fit"),
    ("roles", "name,display_order\nreader,\n", "2:8: display_order: a whole number is expected, not nothing"),
    ("roles", "name\n007\n", "2:1: name: 007 is read as a number, and would not stay"),
    ("roles", "name\nnull\n", "2:1: name is never null"),
    ("roles", "display_order\n1\n", "1:1: rows of roles are known by id or by name; add either"),
    ("roles", "id,name\n0,zero\n", "2:1: an id is a whole number from 1, not 0"),
    ("roles", "id,name\n1,a\n1,b\n", "3:1: the row of line 2 is the same; leave one"),
    ("roles", 'name\n"reader\n', "2:1: the quote that begins here has no end"),
    ("roles", "\ufeffname,name\na,a\n", "1:1: roles has no column '\\ufeffname'"),
    ("policies", "name\nall\n", "1:1: new rows of policies need resource, action"),
    ("users", "username\nada lovelace\n", "2:1: a username has 1 to 64 letters"),
    ("users", "username,status\nada,active\n", "1:10: users has no column 'status'"),
    ("users", "username,role,role_id\nada,a,null\n", "1:10: role and role_id are the same reference"),
    ("users", "username,role_id\nada,9\n", "2:5: there is no row 9 in roles"),
    ("agents", "name,user_id\nhelper,9\n", "2:8: there is no row 9 in users"),
    ("agents", "name,model_parameters\nhelper,[]\n", "2:8: model_parameters: JSON, an object is expected"),
    ("models", "key,name,version_name,type,is_custom\nm,m,m,llm,true\n", "1:28: models has no column 'is_custom'"),
    ("models", "key,name,version_name,type,price_input\nm,m,m,llm,Infinity\n", "2:11: price_input: an amount"),
    ("models", "key,name,version_name,type,created_at\nm,m,m,llm,noon\n", "2:11: created_at: a moment such as"),
    ("providers", "name,api_key\nbrook,file:none\n", "2:7: the file 'none' cannot be read"),
    ("agents", f"name,model\nhelper,{'m' * 300}\n", "2:8: model: text of 300 characters where at most 255 fit"),
    ("agents", "name,prompt\nhelper,help\n", "2:8: prompt: a prompt is named with its version"),
]


async def test_a_problem_says_where_it_is_and_what_is_expected(
    agentdb: Database, write_seed: WriteSeed, subtests: pytest.Subtests
) -> None:
    for name, content, told in PROBLEMS:
        with subtests.test(told=told):
            folder = write_seed(**{name: content})
            problems = await problems_of(agentdb, folder)
            (folder / f"{name}.csv").unlink()

            assert len(problems) == 1
            assert problems[0].startswith(f"{name}.csv:{told}")


async def test_an_id_that_is_another_rows_is_told(db: Database, write_seed: WriteSeed) -> None:
    role = await db.supervisor.roles.create("reader", by=None)

    told = await problems_of(db, write_seed(roles=f"id,name\n{role.id + 5},reader\n"))

    assert told == [f"roles.csv:2:1: this row is {role.id} in the database, not {role.id + 5}; leave its id out"]


async def test_what_a_variable_holds_is_never_told(
    db: Database, write_seed: WriteSeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-hidden")

    told = await problems_of(db, write_seed(models="key,name,version_name,type\nm,m,m,env:OUR_KEY\n"))

    assert told == ["models.csv:2:7: type cannot hold the text of a variable that is there"]


async def test_a_secret_needs_a_key_to_seal_it(write_seed: WriteSeed) -> None:
    async with agentdb.connect("sqlite://") as db:
        told = await problems_of(db, write_seed(providers="name,api_key\nbrook,sk-hidden\n"))

        assert len(told) == 1
        assert told[0].startswith("providers.csv:2:7: api_key cannot be stored: AGENTDB_ENCRYPTION_KEYS is not set")
        assert "sk-hidden" not in told[0]


async def test_two_files_of_one_table_are_refused(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed(role_policies="role_id,policy_id\n", **{"role-policies": "role_id,policy_id\n"})

    assert await problems_of(db, folder) == ["role_policies.csv:1:1: role-policies.csv is of the same table; leave one"]


async def test_a_file_that_is_not_utf8_is_told_where(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed()
    (folder / "roles.csv").write_bytes(b"name\nread\xe9r\n")

    assert await problems_of(db, folder) == ["roles.csv:2:5: not UTF-8 text from here on"]


async def test_a_folder_that_is_none_or_holds_nothing_is_refused(db: Database, write_seed: WriteSeed) -> None:
    folder = write_seed()

    for path in (folder / "absent", folder, Path(__file__)):
        with pytest.raises(BadInput):
            await db.seed(path)


async def test_an_empty_file_is_no_rows(db: Database, write_seed: WriteSeed) -> None:
    report = await db.seed(write_seed(roles="", policies="name,resource,action\n\n,,\n"))

    assert {name: done.added for name, done in report.tables.items()} == {"policies": 0}
