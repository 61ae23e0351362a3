"""A password in a URL is neither printed nor stored, whatever it holds."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hal.config import build, read, without_password
from hal.errors import ConfigError
from hal.tuner.config import TuneConfig

SCHEMES = st.sampled_from(["postgresql", "postgresql+psycopg", "mysql", "sqlite", "redis", "http", "x"])
USERS = st.sampled_from(["", "me", "me@corp", "o'hara", "a%20b"])
HOSTS = st.sampled_from(["host", "host:5432", "[::1]:80", "10.0.0.1", ""])
TAILS = st.sampled_from(["", "/tuning", "/tuning?sslmode=require", "/a/b?user=me&x=1"])
SECRETS = st.text(st.characters(codec="utf-8"), min_size=1).map(lambda text: f"hush{text}hush")
WORDS = st.sampled_from(["password", "sslpassword", "PASSWORD", "passwd", "pwd"])


@given(SCHEMES, USERS, SECRETS, HOSTS, TAILS)
@example("postgresql", "me", "hu'sh\n\"@/?#&:://x:y@ hush", "host", "/tuning")
def test_before_the_host(scheme, user, secret, host, tail):
    for text in (f"{scheme}://{user}:{secret}@{host}{tail}", f"storage={scheme}://{user}:{secret}@{host}{tail} two"):
        shown = without_password(text)
        assert "hush" not in shown
        assert f"{scheme}://{user}@{host}{tail}" in shown
        assert without_password(shown) == shown


@given(SCHEMES, HOSTS, WORDS, SECRETS)
def test_in_the_query(scheme, host, word, secret):
    assume("&" not in secret)  # it would be %26
    for text in (f"{scheme}://{host}/n?{word}={secret}", f"{scheme}://{host}/n?a=b&{word}={secret}&c=d"):
        shown = without_password(text)
        assert "hush" not in shown
        assert shown.startswith(f"{scheme}://{host}/n")
        assert ("a=b" in text) == ("a=b" in shown)
        assert ("c=d" in text) == ("c=d" in shown)


@given(SCHEMES, USERS, SECRETS, HOSTS)
def test_in_errors_about_the_command_line(scheme, user, secret, host):
    url = f"{scheme}://{user}:{secret}@{host}/n"
    listed = () if "," in secret else (f"space.batch=[{url}]",)  # a comma would make two values of it
    for pair in (url, f"storag={url}", f"seed={url}", f"trials=[{url}", f"trials={url}", *listed):
        with pytest.raises(ConfigError) as raised:
            build(TuneConfig, read(TuneConfig, [pair]))
        assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["x://me:hush", "x://me:hush rest", "x://me:123hush", "cannot open x://u:p?hush", "x://u:p\nhush@h"]
)
def test_of_a_url_that_was_cut_off(text):
    assert "hush" not in without_password(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "sqlite:////tmp/a:b@c.db",
            "journal:/shared/study.log",
            "postgresql://me@host/tuning",
            "http://host:80/x?y=z",
        ),
        *(
            "did you mean batch?",
            "images:a: b",
            "runs/a:b@c",
            "http://localhost:8080",
            "see http://host:80, then go on",
        ),
    ],
)
def test_what_holds_no_password_stays(text):
    assert without_password(text) == text
