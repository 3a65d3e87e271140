from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tidegauge.errors import InvalidInputError
from tidegauge.settings import Settings, load_settings

DOCS = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "tidegauge.toml").write_text('port = 1001\nhost = "file"\nflush_seconds = 7\n')
    environment = {"TIDEGAUGE_PORT": "1002", "TIDEGAUGE_HOST": "environment"}
    settings = load_settings(tmp_path, {"port": 1003, "host": None}, environment)
    assert (settings.port, settings.host, settings.flush_seconds) == (1003, "environment", 7)
    assert settings.max_upload_bytes == Settings(tmp_path).max_upload_bytes


@pytest.mark.parametrize(
    ("file", "environment", "sentence"),
    [
        ("", {"TIDEGAUGE_PORT": "many"}, "port is 'many' in TIDEGAUGE_PORT; use a whole number."),
        ("port = true", {}, "port is True in"),
        ("port = 70000", {}, "port is 70000; use a number from 1 to 65535."),
        ("prot = 1", {}, "has an unknown setting 'prot'"),
        ("port = ", {}, "is not valid TOML"),
        (
            "",
            {"TIDEGAUGE_ROLE": "watching"},
            "role is 'watching' in TIDEGAUGE_ROLE; use both,",
        ),
        ("", {"TIDEGAUGE_FLUSH_SECONDS": "0"}, "flush_seconds is 0; use 1 or more."),
        ("", {"TIDEGAUGE_KEEP_DAYS": "-1"}, "keep_days is -1; use 0 (all is kept) to 36,500."),
        ("keep_days = 10000000000", {}, "keep_days is 10000000000; use 0 (all is kept) to 36,500."),
        ("", {"TIDEGAUGE_KEEP_BYTES": str(2**63)}, f"keep_bytes is {2**63}; use 0 (all is kept) to"),
    ],
)
def test_a_bad_value_refuses_to_start_and_names_itself(
    tmp_path: Path, file: str, environment: dict[str, str], sentence: str
) -> None:
    (tmp_path / "tidegauge.toml").write_text(file)
    with pytest.raises(InvalidInputError) as caught:
        load_settings(tmp_path, None, environment)
    assert sentence in caught.value.message


def test_every_setting_is_documented() -> None:
    text = DOCS.read_text()
    assert [field.name for field in fields(Settings) if f"`{field.name}`" not in text] == []
