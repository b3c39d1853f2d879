"""tunrouter: a routing tunnel that speaks GOST v3's bytes (see ARCHITECTURE.md)."""

__version__ = "0.1.0"
