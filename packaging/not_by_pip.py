"""The build backend that pyproject.toml names: it refuses, so that pip leaves site-packages alone.

A package named lib there would collide with others. Without a backend pip would let setuptools guess
what to install; this says in one line what to do instead.
"""

raise SystemExit(
    "pip does not install tunrouter. Take the executable of a release, or run `make binary` and then "
    "`make install` (README.md, The program). In a checkout, run `make setup`."
)
