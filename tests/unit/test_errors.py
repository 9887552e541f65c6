"""What another's error says, in one line."""

from __future__ import annotations

from stream.errors import one_line

REFUSED = (
    "Error performing PUT http://s3/b/a - Server returned non-2xx status code: 403 Forbidden: "
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the\n"
    "server's time is too large.</Message><RequestId>7</RequestId></Error>\n\nDebug source:\nGeneric {\n}"
)


def test_an_object_stores_answer_tells_its_code_and_message() -> None:
    told = one_line(OSError(REFUSED)).rpartition("403 Forbidden: ")[2]
    assert told == "RequestTimeTooSkewed: The difference between the request time and the server's time is too large."
    assert one_line(OSError("404: <Error><Code>NoSuchBucket</Code></Error>")) == "404: NoSuchBucket"


def test_of_any_other_error_the_first_line_counts() -> None:
    assert one_line(OSError("connection refused\n\nDebug source:\nGeneric {\n}")) == "connection refused"
    assert one_line(OSError("502: <html>\n<body>Bad Gateway</body></html>")) == "502: <html>"
    assert one_line(TimeoutError()) == "TimeoutError"
