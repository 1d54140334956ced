"""The two database roles, as `docs/operations.md` has them made."""

import re

import asyncpg
from yarl import URL

from tests.service import PROJECT


def documented_roles() -> str:
    """The SQL of that page, for psql."""
    text = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    block = text.partition("<!-- roles:begin -->")[2].partition("<!-- roles:end -->")[0]
    return block.partition("```sql\n")[2].partition("```")[0]


async def make_roles(superuser: str, suffix: str) -> tuple[str, str]:
    """Carry it out, with names that end in this: the addresses of the database as its owner, and as the service.

    Args:
        superuser: the address of any database of the server.
        suffix: what makes the names those of one test.
    """
    named = re.sub(r"\b(orders(?:_owner|_service)?)\b", rf"\1_{suffix}", documented_roles())
    outside, _, inside = named.partition(f"\\connect orders_{suffix}\n")
    server = URL(superuser).with_scheme("postgresql")
    database = server.with_path(f"/orders_{suffix}")
    for address, script in ((server, outside), (database, inside)):
        connection = await asyncpg.connect(str(address))
        try:
            # one by one: a database cannot be made inside a transaction
            for statement in filter(str.strip, script.split(";\n")):
                await connection.execute(statement)
        finally:
            await connection.close()
    owner, service = re.findall(r"CREATE ROLE (\S+) LOGIN PASSWORD '(.+)';", named)
    return str(database.with_user(owner[0]).with_password(owner[1])), str(
        database.with_user(service[0]).with_password(service[1])
    )


async def drop_roles(superuser: str, suffix: str) -> None:
    """Take away the database and the roles."""
    connection = await asyncpg.connect(str(URL(superuser).with_scheme("postgresql")))
    try:
        await connection.execute(f"DROP DATABASE orders_{suffix} WITH (FORCE)")
        for role in ("owner", "service"):
            await connection.execute(f"DROP ROLE orders_{role}_{suffix}")
    finally:
        await connection.close()
