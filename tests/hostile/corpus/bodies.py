"""Hostile bytes in place of JSON."""

DEEP = 100_000

BODIES = {
    "nothing": b"",
    "not_utf8": b'{"subject":"gr\xfc\xdfe","from":"a@x.example","to":"b@x.example","text":"t"}',
    "overlong": b'{"from":"\xc0\x80"}',
    "surrogate_octets": b'{"from":"\xed\xa0\x80"}',
    "lone_surrogate": b'{"from":"\\ud800"}',
    "surrogate_inside": b'{"from":"a\\ud800b"}',
    "surrogates_reversed": b'{"from":"\\udc00\\ud800"}',
    "surrogate_key": b'{"\\ud800":1}',
    "bom": b"\xef\xbb\xbf{}",
    "utf16": '{"from":"a"}'.encode("utf-16"),
    "deep": b"[" * DEEP,
    "deep_balanced": b"[" * DEEP + b"]" * DEEP,
    "deep_object": b'{"a":' * DEEP,
    "deep_in_list": b'[{"from":' + b"[" * DEEP,
    "deep_value": b'{"from":"a","to":"b","subject":"s","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "huge_number": b'{"from":' + b"9" * DEEP + b"}",
    "huge_exponent": b'{"from":1e999999999}',
    "not_a_number": b'{"from":NaN}',
    "duplicate_keys": b'{"from":"a","from":"b"}',
    "many_keys": b"{" + b",".join(b'"%d":1' % n for n in range(DEEP)) + b"}",
    "long_unknown_field": b'{"' + b"x" * 1_000_000 + b'":1}',
    "null": b"null",
    "text": b'"a"',
    "list": b"[]",
    "list_of_nulls": b"[null,null]",
    "unfinished": b'{"from":"a',
}
