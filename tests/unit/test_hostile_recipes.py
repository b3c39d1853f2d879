"""Made-up hostile streams: the same ones again from the same line, and made of what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib import packet_offload
from tests.hostile import recipes, streams
from tests.hostile.peer import is_websocket
from tests.support import packets as p

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recipe_is_what_its_line_says(seed: int) -> None:
    recipe = recipes.changed(recipes.draw(seed), seed + 1000)
    again = recipes.decode(recipe.encode())
    assert again == recipe
    assert again.blob(3) == recipe.blob(3)


@pytest.mark.parametrize("name", recipes.INGREDIENTS)
def test_each_ingredient_fits_a_frame(name: str) -> None:
    recipe = replace(recipes.draw(0), kind="tcp", weights={name: 1})
    blob = recipe.blob(0)
    assert len(blob) >= streams.BLOB
    assert p.stream(p.contents(blob)) == blob  # whole frames only


def test_a_websocket_recipe_carries_the_same_frames() -> None:
    recipe = replace(recipes.draw(0), weights={"junk": 1}, message=1000, spices=("empty", "ping"))
    plain, framed = replace(recipe, kind="tcp").blob(0), replace(recipe, kind="ws").blob(0)
    assert is_websocket("ws")
    assert framed.startswith(streams.ws_frame(plain[:1000]))
    assert len(framed) > len(plain)


def test_a_superpacket_of_28_mb_becomes_that() -> None:
    content = p.contents(streams.long_headers(0))[0]
    assert len(content) < 66_000
    assert sum(map(len, packet_offload.packets(memoryview(bytearray(content))))) > 28_000_000
