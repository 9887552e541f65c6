"""Settings: which source counts, what is refused, and that no secret is ever shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.config import IngestSettings, Settings, describe_settings
from stream.errors import SkyburstError, Wrong
from stream.layers import TABLES


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SKYBURST_"):
            monkeypatch.delenv(name)


def config(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "skyburst.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, 'bootstrap = "file:1"\nsurvey = "file"\nalertdb = "/file"\n')
    monkeypatch.setenv("SKYBURST_BOOTSTRAP", "environment:1")
    monkeypatch.setenv("SKYBURST_SURVEY", "environment")
    settings = Settings.load({"bootstrap": "flag:1", "survey": None}, config=path)
    assert [settings.bootstrap, settings.survey, settings.value("alertdb")] == ["flag:1", "environment", "/file"]


def test_the_config_file_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYBURST_CONFIG", str(config(tmp_path, 'survey = "file"\n[ingest]\ngroup = "night"\n')))
    assert Settings.load().survey == "file"
    assert IngestSettings.load().group == "night"


def test_a_path_may_begin_at_home_wherever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(tmp_path, 'alertdb = "~/alerts"\nkafka_ca = "~/ca.pem"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "password").write_text("s3cret")
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setenv("SKYBURST_SURVEY", "~/mine.toml")
    monkeypatch.setenv("SKYBURST_KAFKA_PASSWORD_FILE", "~/password")
    settings = Settings.load({"schemas": "~/schemas"}, config=Path("~/skyburst.toml"))
    assert settings.value("kafka_password") == "s3cret"
    assert Settings.load({"kafka_ca": Path("~/ca.pem")}).kafka_ca == tmp_path / "ca.pem"
    paths = [settings.value("alertdb"), str(settings.kafka_ca), settings.survey, settings.value("schemas")]
    assert paths == [f"{tmp_path}/{name}" for name in ("alerts", "ca.pem", "mine.toml", "schemas")]
    for kept in ("~no-such-user/alerts", "s3://bucket/~me"):
        assert Settings.load({"alertdb": kept}).value("alertdb") == kept
    with pytest.raises(Wrong, match="config file ~no-such-user/x cannot be read"):
        Settings.load(config=Path("~no-such-user/x"))


def test_a_config_file_that_is_a_pipe_is_read_once_for_all_settings() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write('survey = "file"\n[ingest]\ngroup = "night"\n')
    path = Path(f"/dev/fd/{reading}")
    try:
        assert Settings.load(config=path).survey == "file"
        assert IngestSettings.load(config=path).group == "night"
    finally:
        os.close(reading)


def test_ingest_settings_have_their_own_prefix_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, '[ingest]\nbatch_age_s = 0.5\nbatch_bytes = "32MiB"\n')
    monkeypatch.setenv("SKYBURST_INGEST_BATCH_AGE_S", "0.25")
    settings = IngestSettings.load(config=path)
    assert (settings.batch_age_s, settings.batch_bytes) == (0.25, 32 << 20)


@pytest.mark.parametrize("given, expected", [("a", ("a",)), ("a, b", ("a", "b")), (("a", "b"), ("a", "b")), ("", ())])
def test_topics_are_one_or_more(given: object, expected: tuple[str, ...]) -> None:
    assert Settings.load({"topic": given}).topic == expected


@pytest.mark.parametrize("given, expected", [("earliest", "earliest"), ("latest", "latest"), ("17", 17), (0, 0)])
def test_a_start_is_a_word_or_an_offset(given: object, expected: object) -> None:
    assert IngestSettings.load({"start": given}).start == expected


@pytest.mark.parametrize(
    "text, said",
    [
        ('bootsrap = "x"', "did you mean bootstrap"),
        ("[ingest]\nbatch_ages = 1", "did you mean batch_age_s"),
        ('[ingset]\ngroup = "x"', "did you mean"),
        ("survey = ", "is no TOML"),
    ],
)
def test_a_typing_error_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = config(tmp_path, text)
    with pytest.raises(Wrong, match=said):
        Settings.load(config=path)
        IngestSettings.load(config=path)


@pytest.mark.parametrize("value", ["3", '"x"', "[1]", "[{group = 'night'}]"])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_file_that_is_none_is_named_by_whoever_reads_the_file(
    tmp_path: Path, table: str, value: str
) -> None:
    path = config(tmp_path, f"{table} = {value}\n")
    for settings in (Settings, IngestSettings):
        with pytest.raises(Wrong, match=rf"skyburst\.toml: {table} is no table; write \[{table}\]") as caught:
            settings.load(config=path)
        assert caught.value.code == "setting"


def test_a_missing_config_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=r"nowhere\.toml cannot be read"):
        Settings.load(config=tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"batch_age_s": "soon"}, "--batch-age-s, SKYBURST_INGEST_BATCH_AGE_S"),
        ({"batch_age_s": 0}, "greater than 0"),
        ({"metrics_port": 70000}, "65535"),
        ({"start": "-4"}, "'earliest' or 'latest'"),
        ({"batch_bytes": "400MiB"}, "more than inflight_bytes"),
        ({"max_packet_bytes": "400MiB"}, "more than inflight_bytes"),
        ({"abandoned_s": 6, "heartbeat_s": 5}, "three heartbeats"),
    ],
)
def test_a_value_that_cannot_be_is_wrong_use_and_says_where(flags: dict[str, object], said: str) -> None:
    with pytest.raises(Wrong) as caught:
        IngestSettings.load(flags)
    assert said in str(caught.value) and caught.value.code == "setting"


def test_a_setting_that_a_verb_needs_is_asked_for_by_flag_and_variable() -> None:
    with pytest.raises(Wrong, match=r"level1 is not set; give --level1, set SKYBURST_LEVEL1"):
        Settings.load().need("level1")
    with pytest.raises(Wrong, match="SKYBURST_TOPIC"):
        Settings.load().need_topics()


SECRET = "hunter2correct"


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYBURST_KAFKA_PASSWORD", SECRET)
    settings = Settings.load(
        {
            "kafka_security": "scram",
            "kafka_user": "u",
            "level1": f"mysql+aiomysql://u:{SECRET}@h:3306/db?ssl_key_password={SECRET}",
            "schemas": f"https://u:{SECRET}@registry:8081",
        }
    )
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown and "mysql+aiomysql://u:***@h:3306/db" in shown
    assert SECRET in settings.need("level1") and settings.value("kafka_password") == SECRET


@pytest.mark.parametrize("password", ["hunter2 correct", "hunter2\tcor@rect", "hunter2/cor rect"])
def test_a_password_with_a_blank_is_not_shown_either(password: str, tmp_path: Path) -> None:
    settings = Settings.load({"level1": f"mysql://u:{password}@h/db", "alertdb": "/data/a b@c"})
    assert (str(settings.level1), str(settings.alertdb)) == ("mysql://u:***@h/db", "/data/a b@c")
    with pytest.raises(Wrong, match="chmod o-r"):
        line = f'level1 = "mysql://u:{password}@h/db"'.replace("\t", "\\t")
        Settings.load(config=config(tmp_path, line, mode=0o644))


@pytest.mark.parametrize("name", ["kafka_mechanism", "kafka_security"])
def test_a_secret_given_in_the_wrong_place_is_not_in_the_error(name: str) -> None:
    with pytest.raises(SkyburstError) as caught:
        Settings.load({name: f"https://u:{SECRET}@x"})
    assert SECRET not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


def test_a_secret_may_lie_in_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o440)
    monkeypatch.setenv("SKYBURST_KAFKA_PASSWORD_FILE", str(secret))
    assert Settings.load({"kafka_user": "u", "kafka_security": "scram"}).value("kafka_password") == SECRET


def test_a_secret_file_that_cannot_be_read_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, binary = tmp_path / "folder", tmp_path / "binary"
    folder.mkdir(mode=0o700)
    binary.write_bytes(b"\xff\xfe\x00")
    binary.chmod(0o600)
    for path, why in ((folder, "Is a directory"), (binary, "no UTF-8 text")):
        monkeypatch.setenv("SKYBURST_LEVEL1_FILE", str(path))
        with pytest.raises(Wrong, match=f"SKYBURST_LEVEL1_FILE.*{why}"):
            Settings.load()


def test_a_secret_file_that_everybody_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text(SECRET)
    secret.chmod(0o444)
    monkeypatch.setenv("SKYBURST_LEVEL1_FILE", str(secret))
    with pytest.raises(Wrong, match="chmod o-r") as caught:
        Settings.load()
    assert caught.value.code == "secret_readable"


@pytest.mark.parametrize("line", [f'level1 = "mysql://u:{SECRET}@h/db"', f'kafka_password = "{SECRET}"'])
def test_a_config_file_with_a_secret_must_be_private(tmp_path: Path, line: str) -> None:
    with pytest.raises(Wrong, match="chmod o-r") as caught:
        Settings.load(config=config(tmp_path, line, mode=0o644))
    assert SECRET not in str(caught.value)
    assert Settings.load(config=config(tmp_path, line, mode=0o600))


def test_a_private_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    key.chmod(0o644)
    with pytest.raises(Wrong, match="kafka_key"):
        Settings.load({"kafka_key": key})


@pytest.mark.parametrize("security, missing", [("scram", "kafka_user"), ("mtls", "kafka_certificate")])
def test_half_a_kafka_security_is_refused(security: str, missing: str) -> None:
    with pytest.raises(Wrong, match=missing):
        Settings.load({"kafka_security": security})


@pytest.mark.parametrize("of", [Settings, IngestSettings])
def test_every_setting_is_documented_and_named_three_ways(of: type[Settings] | type[IngestSettings]) -> None:
    for each in describe_settings(of):
        assert each.doc.endswith("."), each.name
        assert each.flag.startswith("--") and each.env.startswith("SKYBURST_") and (each.key or each.name == "config")
