"""Configurations as tests read them."""

from __future__ import annotations

from lib.config_schema import Config
from lib.errors import ConfigError


def checked(config: Config) -> Config:
    """A configuration in which nothing is wrong. Raises ConfigError, as every command does, where something is."""
    if config.problems:
        raise ConfigError(config.problems)
    return config
