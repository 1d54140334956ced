"""The rights of each service's broker user: the table in `docs/rabbitmq.md`, given to users made for a test."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from yarl import URL

from local.management import Management
from tests.service import PROJECT


@dataclass(frozen=True)
class Rights:
    """What a user may do: expressions that names have to match, and routing keys on the exchange `domain`."""

    configure: str
    write: str
    read: str
    topic_write: str
    topic_read: str


def documented_rights() -> dict[str, Rights]:
    """By the service's name."""
    text = (PROJECT / "docs/rabbitmq.md").read_text(encoding="utf-8")
    table = text.partition("<!-- permissions:begin -->")[2].partition("<!-- permissions:end -->")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.strip().splitlines()[2:]]
    return {
        name.strip(): Rights(*(cell.strip().strip("`").replace("\\|", "|") for cell in cells)) for name, *cells in rows
    }


@contextmanager
def users(management: Management, vhost: str) -> Iterator[Mapping[str, str]]:
    """A user for each row of the table, with just its rights there: the address of the virtual host as that user."""
    here, made = URL(vhost).path.removeprefix("/"), {}
    for service, rights in documented_rights().items():
        user, password = f"{service}-{uuid4().hex[:8]}", uuid4().hex
        management.create_user(user, password)
        management.permit(here, user, configure=rights.configure, write=rights.write, read=rights.read)
        management.permit_topics(here, user, "domain", write=rights.topic_write, read=rights.topic_read)
        made[service] = str(URL(vhost).with_user(user).with_password(password))
    yield made
    for url in made.values():
        management.delete_user(str(URL(url).user))
