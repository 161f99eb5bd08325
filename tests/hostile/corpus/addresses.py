"""Hostile text in place of an address."""

TEXTS = {
    "labels": "a@" + "1." * 20_000,
    "long_domain": "a@" + "ü" * 300 + ".example",
    "long_local": "a" * 40_000 + "@x.example",
    "odd_idn": "a@xn--ß.example",
    "quoted": '"a b\\"@<>"@x.example',
    "two_ats": "a@b@c.example",
    "unclosed": "Ann <a@x.example",
    "route": "<@a,@b:c@d.example>",
    "nested_comments": "(" * 2_000 + "a@x.example",
    "encoded_words": "=?utf-8?q?" * 2_000 + " <a@x.example>",
    "literal": "a@[127.0.0.1]",
    "list": ",".join(["a@x.example"] * 1_000),
}
