"""Hostile text for any field.

Lone surrogates are among the bodies, because no JSON or protobuf parser accepts them.
"""

TEXTS = {
    "empty": "",
    "blank": " \t ",
    "nul": "\0",
    "nul_inside": "a\0b",
    "line_break": "a\r\nBcc: x@y.example",
    "trailing_newline": "a\n",
    "bidi_override": "invoice\u202egpj.exe",
    "bidi_isolate": "\u2066a\u2069",
    "right_to_left": "\u05d0\u05d1 \u200f\u05d2",
    "zero_width": "a\u200b\u200d\u2060b",
    "combining": "ju\u0308rgen" + "\u0301" * 500,
    "noncharacter": "\ufffe\uffff\U0010ffff",
    "emoji": "🩷 🏴\U000e0067\U000e0062\U000e007f 🫩",
    "separators": "a\u2028b\u2029c\u0085d",
    "long": "a" * 40_000,
    "sql": "'; DROP TABLE emails; --",
    "format": "%s%n{0}{__class__}${7*7}",
    "path": "../../../../etc/passwd",
    "huge_number": "9" * 5_000,
    "fullwidth_digits": "１２３",  # noqa: RUF001 - that is the point
}
