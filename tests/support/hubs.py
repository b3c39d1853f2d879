"""Hubs of a configuration, in this process, for unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lib import config_read, config_resolve, config_secrets
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.namespace_domains import Domains
from tests.support.configs import checked


@contextmanager
def running(text: str) -> Iterator[list[Hub]]:
    """The hubs of a configuration."""
    settings = config_resolve.resolve(checked(config_read.read([("f", text)])), config_secrets.read)
    tables = Tables(settings)
    domains = Domains(tables)
    made = [Hub(one, domains.of(one, settings.tables), tables, ReceiveBuffer()) for one in settings.hubs]
    for one in made:
        one.start()
    try:
        yield made
    finally:
        for one in made:
            one.stop()
        tables.stop()  # else sources that cannot be read go on dialling, in other tests
