"""The `log` and `metrics` sections: what fits, what has no effect, who may read."""

from __future__ import annotations

import pytest

from lib import config_from_urls, config_read, config_resolve
from lib.config_telemetry import AUTH_OF_METRICS
from lib.errors import ConfigError
from lib.settings import Settings
from lib.settings_telemetry import MetricsSettings, RotationSettings

SERVICE = "services: [{name: h, addr: ':1', handler: {type: router, metadata: {router: r}}}]\nrouters: [{name: r}]\n"


def settings(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f.yml", SERVICE + text)]))


def flag(text: str) -> Settings:
    files = config_read.read([("f.yml", SERVICE)])
    return config_resolve.resolve(
        config_read.merge([files, config_from_urls.read([], [], metrics=text, taken=files)])
    )


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ("{}", RotationSettings()),
        ("{maxSize: 5, maxAge: 2, maxBackups: 3}", RotationSettings(5 << 20, 2, 3)),
        ("{localTime: true, compress: true}", RotationSettings(local_time=True, compress=True)),
    ],
)
def test_rotation(rotation: str, expected: RotationSettings) -> None:
    assert settings(f"log: {{output: a.log, rotation: {rotation}}}").log_rotation == expected
    assert settings("log: {output: a.log}").log_rotation is None


@pytest.mark.parametrize("output", ["", "stderr", "stdout", "none"])
def test_rotation_without_a_file_is_odd(output: str) -> None:
    found = settings(f"log: {{output: '{output}', rotation: {{maxSize: 1}}}}")
    assert found.log_rotation is None
    assert [str(warning) for warning in found.warnings if "rotation without a file" in str(warning)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log: {output: a, rotation: {maxSize: -1}}", "f.yml:3:38: 'maxSize' is below zero"),
        ("metrics: {addr: ':99999'}", "f.yml:3:17: 'addr': not a port number"),
        ("metrics: {addr: ''}", "'addr': no address"),
        ("metrics: {path: /m}", "'addr': no address"),
        ("metrics: {addr: 'unix://m.sock'}", "no absolute path"),
        ("metrics: {addr: ':1', path: metrics}", "'path': 'metrics' is no path"),
        (
            "authers: [{name: team}]\nmetrics: {addr: ':1', auther: tema}",
            "there is no auther 'tema'; did you mean 'team'?",
        ),
        ("metrics: {addr: ':1', auth: {password: x}}", "a login without a username"),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(text)
    assert message in str(caught.value)


def test_metrics() -> None:
    assert settings("").metrics is None
    found = settings("metrics: {addr: '127.0.0.1:9000', auth: {username: u, password: p}}")
    assert found.metrics == MetricsSettings("127.0.0.1", 9000, auther=AUTH_OF_METRICS)
    assert [row.username for auther in found.authers for row in auther.logins] == ["u"]
    assert not found.warnings
    found = settings("authers: [{name: a}]\nmetrics: {addr: ':9', auther: a, auth: {username: u}}")
    assert found.metrics == MetricsSettings("", 9, auther="a")
    said = "\n".join(map(str, found.warnings))
    assert "'auth' has no effect beside an auther" in said
    assert "in the clear" in said
    assert "open to everybody" in "".join(map(str, settings("metrics: {addr: ':9'}").warnings))


@pytest.mark.parametrize(
    ("text", "address", "path", "auther"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", "/metrics", ""),
        ("u:p@[::1]:9000?path=/m", "[::1]:9000", "/m", AUTH_OF_METRICS),
        ("unix:///run/m.sock", "unix:///run/m.sock", "/metrics", ""),
        ("unix://u:p@/run/m.sock?path=/m", "unix:///run/m.sock", "/m", AUTH_OF_METRICS),
    ],
)
def test_the_flag(text: str, address: str, path: str, auther: str) -> None:
    metrics = flag(text).metrics
    assert metrics is not None
    assert (metrics.address, metrics.path, metrics.auther) == (address, path, auther)
