"""No password of a URL is shown; what is no password stays readable."""

import pytest

from erasure_core.redact import redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:s3cret@host:5000/api", "http://***@host:5000/api"),
        ("postgresql://user:s3/cret@host/db", "postgresql://***@host/db"),
        ("https://user:s3@cret@host/x", "https://***@host/x"),
        ("postgresql://user:a@s3cret/b@host:5432/db", "postgresql://***@host:5432/db"),
        ("https://s3cret@host/x", "https://***@host/x"),
        ("two: http://a:s3cret@b, ssh://c:s3cret@d", "two: http://***@b, ssh://***@d"),
        ("https://host/x?user=a&Token=s3cret&n=1", "https://host/x?user=a&Token=***&n=1"),
    ],
)
def test_secrets_of_urls_are_hidden(text, shown):
    assert "s3cret" not in redacted(text)
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/models/toy@champion",
        "s3://bucket/models@2",
        "models:/toy@champion",
        "sqlite:////state/mlflow.db",
        "write to somebody@example.org",
    ],
)
def test_what_holds_no_secret_stays(text):
    assert redacted(text) == text
